//! The machine's clock is set while notifications wait.
