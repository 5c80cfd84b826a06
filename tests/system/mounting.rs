//! The life of a mount: starting, being told, stopping, dying.
