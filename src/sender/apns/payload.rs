//! The JSON that an iPhone's app reads.
