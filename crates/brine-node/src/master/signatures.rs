//! Whether minions must sign returns: `require_minion_sign_messages` and `drop_messages_signature_fail`, which Salt's
//! masters apply only to returns.
//!
//! Facts: `docs/protocol/network.md` §4.5; Salt 3006.28 and 3008.3, by running them.

use brine_net::master::{MessageSignature, Request};

/// What a master requires of the signatures of returns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReturnSignatures {
    /// `require_minion_sign_messages`: drop returns without a signature.
    pub(super) required: bool,
    /// `drop_messages_signature_fail`: drop returns with a wrong signature.
    pub(super) drop_invalid: bool,
}

impl ReturnSignatures {
    /// Whether a return is accepted. Salt checks every signature it finds; Brine checks one only if an option
    /// depends on it.
    pub(super) fn allow(self, request: &Request) -> bool {
        if !self.required && !self.drop_invalid {
            return true;
        }
        let found = request.message_signature();
        let allowed = self.allow_signature(found);
        if !allowed {
            tracing::error!(id = %request.minion.id(), ?found, "return dropped: its minion has not signed it");
        } else if found == MessageSignature::Invalid {
            tracing::warn!(id = %request.minion.id(), "return accepted although its signature is wrong");
        }
        allowed
    }

    fn allow_signature(self, found: MessageSignature) -> bool {
        match found {
            MessageSignature::Valid => true,
            MessageSignature::Missing => !self.required,
            MessageSignature::Invalid => !self.drop_invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_decides_about_one_kind_of_bad_signature() {
        use MessageSignature::{Invalid, Missing, Valid};
        for (required, drop_invalid, allowed) in [
            (false, false, vec![Valid, Missing, Invalid]),
            (true, false, vec![Valid, Invalid]),
            (false, true, vec![Valid, Missing]),
            (true, true, vec![Valid]),
        ] {
            let signatures = ReturnSignatures {
                required,
                drop_invalid,
            };
            for found in [Valid, Missing, Invalid] {
                let expected = allowed.contains(&found);
                assert_eq!(
                    signatures.allow_signature(found),
                    expected,
                    "{signatures:?} {found:?}"
                );
            }
        }
    }
}
