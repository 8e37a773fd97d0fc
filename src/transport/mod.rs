//! Sockets: the listeners, what they accept, and how long they wait. Two doors lead inside: `serving::Engine` and
//! `control::ControlPlane`.
