//! The truth table of recovery, row by row, and the directories that real servers wrote.
