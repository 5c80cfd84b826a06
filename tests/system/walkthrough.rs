//! The staging-to-production workflow, command by command.
