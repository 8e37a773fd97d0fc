//! Tables of data from files.
