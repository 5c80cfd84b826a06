//! Moves of pointers under readers, with controls.
