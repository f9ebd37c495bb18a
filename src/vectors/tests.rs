//! Sets against a plain model.
