//! Who may do what: three users of one machine.
