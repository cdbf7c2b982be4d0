//! Zebu on tokio.
