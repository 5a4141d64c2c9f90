//! What belongs to one of the trainings that go through the engine together.

/// What one member is trained with; its model's sizes, its windows' length and its batch are those of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// What dropout's streams start from.
    pub seed: u64,
    /// Dropout rate.
    pub dropout: f64,
    /// AdamW's β₁.
    pub beta1: f64,
    /// AdamW's β₂.
    pub beta2: f64,
    /// AdamW's ε.
    pub epsilon: f64,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// The gradient's norm is clipped at this.
    pub clip: Option<f64>,
}

/// What came of a member's step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Mean NLL of the step's targets in nats.
    pub loss: f64,
    /// L2 norm of the gradient, before it is clipped.
    pub norm: f64,
    /// Whether the member's weights were updated: loss and norm are finite, as were those of all steps before.
    pub updated: bool,
}

/// What is saved of a member to go on: every array in the order of the model's parameters, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Updates made.
    pub updates: u64,
    /// Parameters.
    pub values: Vec<f32>,
    /// Running means of the gradients.
    pub first: Vec<f32>,
    /// Running means of their squares.
    pub second: Vec<f32>,
}
