//! What a person reads in the message that brings a code.

use super::secrets::Code;

/// Subject (e-mail only) and text in the person's language; English where we have no other.
pub fn message(locale: &str, code: &Code, ttl_ms: i64) -> (String, String) {
    let code = code.expose();
    let minutes = (ttl_ms / 60_000).max(1);
    match locale.split('-').next() {
        Some("he") => (
            "קוד האימות שלך".to_owned(),
            format!("קוד האימות שלך: {code}. הוא תקף ל-{minutes} דקות. אין למסור אותו לאיש."),
        ),
        Some("ar") => (
            "رمز التحقق الخاص بك".to_owned(),
            format!("رمز التحقق الخاص بك: {code}. صالح لمدة {minutes} دقائق. لا تشاركه مع أحد."),
        ),
        _ => (
            "Your verification code".to_owned(),
            format!(
                "Your verification code is {code}. It is valid for {minutes} minutes. Do not share it with anyone."
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_brings_the_code_once_and_keeps_it_out_of_the_subject() {
        let texts = ["en", "he-IL", "ar", "xx"].map(|it| message(it, &Code::new(123_456), 300_000));
        for (subject, text) in &texts {
            assert_eq!(text.matches("123456").count(), 1);
            assert!(text.contains('5') && !subject.contains("123456"));
        }
        assert_eq!(texts[0], texts[3]);
        assert_ne!(texts[0], texts[1]);
    }
}
