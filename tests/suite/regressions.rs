//! Faults of earlier mirror programs that must never come back.
