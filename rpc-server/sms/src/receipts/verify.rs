//! Proofs that a receipt is the provider's.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

use super::report::pairs;

/// Whether Twilio has signed a form for this address: HMAC-SHA1 of the address and the fields in the order of their names.
pub(super) fn is_twilios(token: &str, url: &str, form: &str, signature: &str) -> bool {
    let mut fields = pairs(form);
    fields.sort();
    // A field that comes twice with one value counts once.
    fields.dedup();

    let mut text = url.to_owned();
    for (name, value) in fields {
        text.push_str(&name);
        text.push_str(&value);
    }

    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    BASE64_STANDARD
        .decode(signature)
        .is_ok_and(|signature| hmac::verify(&key, text.as_bytes(), &signature).is_ok())
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn is_same(given: &str, secret: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let expected = hmac::sign(&key, secret.as_bytes());
    hmac::verify(&key, given.as_bytes(), expected.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation of security.
    #[test]
    fn the_signature_that_twilio_publishes_is_accepted_and_no_other() {
        const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
        const FORM: &str = "Digits=1234&To=%2B18005551212&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE";
        const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";

        assert!(is_twilios("12345", URL, FORM, SIGNATURE));
        assert!(!is_twilios("12346", URL, FORM, SIGNATURE));
        assert!(!is_twilios(
            "12345",
            "https://mycompany.com/myapp.php",
            FORM,
            SIGNATURE
        ));
        assert!(!is_twilios("12345", URL, &format!("{FORM}&A=b"), SIGNATURE));
        for wrong in ["", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "not base64!"] {
            assert!(!is_twilios("12345", URL, FORM, wrong), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_the_same_or_not() {
        assert!(is_same("abc", "abc"));
        for other in ["", "ab", "abcd", "abd"] {
            assert!(!is_same(other, "abc"), "{other}");
        }
    }
}
