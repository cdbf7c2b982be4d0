//! What the tests of the whole share: captures of a real server's traffic. Knows no driver and no simulator.

pub mod capture;
pub mod quorum_capture;
