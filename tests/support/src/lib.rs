//! Test kit of mirrorctl.
