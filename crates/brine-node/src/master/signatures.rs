//! Whether returns must be signed by their minions: `require_minion_sign_messages` and
//! `drop_messages_signature_fail`, which Salt's masters ask of returns alone.
//!
//! Facts: `docs/protocol/network.md` §4.5; Salt 3006.28 and 3008.3, by running them.

use brine_config::Opts;
use brine_net::master::{MessageSignature, Request};
use brine_wire::Value;

/// What a master asks of the signatures of returns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signatures {
    require: bool,
    drop_invalid: bool,
}

impl Signatures {
    pub(super) fn new(opts: &Opts) -> Self {
        let is_on = |name| opts.get(name).is_some_and(Value::is_true);
        Self {
            require: is_on("require_minion_sign_messages"),
            drop_invalid: is_on("drop_messages_signature_fail"),
        }
    }

    /// Whether a return is taken. Salt looks at a signature wherever there is one; here it costs something only
    /// if it is asked for.
    pub(super) fn allow(self, request: &Request) -> bool {
        if !self.require && !self.drop_invalid {
            return true;
        }
        let found = request.message_signature();
        let allowed = self.allow_signature(found);
        if !allowed {
            tracing::error!(id = %request.minion.id(), ?found, "return dropped: expected one signed by its minion");
        } else if found == MessageSignature::Invalid {
            tracing::warn!(id = %request.minion.id(), "return taken that is wrongly signed");
        }
        allowed
    }

    fn allow_signature(self, found: MessageSignature) -> bool {
        match found {
            MessageSignature::Valid => true,
            MessageSignature::Missing => !self.require,
            MessageSignature::Invalid => !self.drop_invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_wrong_signature_are_two_options_matters() {
        use MessageSignature::{Invalid, Missing, Valid};
        for (require, drop_invalid, allowed) in [
            (false, false, vec![Valid, Missing, Invalid]),
            (true, false, vec![Valid, Invalid]),
            (false, true, vec![Valid, Missing]),
            (true, true, vec![Valid]),
        ] {
            let mut opts = Opts::default();
            opts.set("require_minion_sign_messages", require);
            opts.set("drop_messages_signature_fail", drop_invalid);
            let signatures = Signatures::new(&opts);
            for found in [Valid, Missing, Invalid] {
                let expected = allowed.contains(&found);
                assert_eq!(
                    signatures.allow_signature(found),
                    expected,
                    "{opts:?} {found:?}"
                );
            }
        }
    }
}
