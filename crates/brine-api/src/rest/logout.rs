//! `/logout`: clears the token.

use super::answer::Answer;
use super::context::Context;
use super::error::RestError;

/// Logs out.
pub(super) fn post(context: &Context) -> Result<Answer, RestError> {
    context.session()?;
    Err(RestError::NotLoggedIn)
}
