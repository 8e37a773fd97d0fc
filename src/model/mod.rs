//! What a model is called, what it takes and gives, and how it is to be run. Values only: nothing here loads or reads.

pub mod config;
pub mod embeddings;
pub mod features;
mod id;
pub mod settings;
pub mod monitoring;
mod signature;

pub use self::config::ModelConfig;
pub use self::id::{IdError, ModelId, ModelName, Version};
pub use self::signature::{Dim, Signature, TensorSpec};
