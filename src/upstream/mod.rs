//! NOTE TO THE ENGINEER ON BRANCH formats: the founder writes src/upstream on main right now, to save time.
//! Do not write this room; finish src/signature.rs, commit, and report.
