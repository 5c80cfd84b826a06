//! apt and nginx against what the mount serves.
