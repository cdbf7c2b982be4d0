//! Snapshots of ours and of real servers, whole and damaged.
