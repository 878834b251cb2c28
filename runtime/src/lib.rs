//! The actix shell of Lockstep: processor, engine actor, links, ingress, arbiter, admin.
