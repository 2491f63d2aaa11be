//! Reads a text character by character.

/// A place in a text that is being parsed.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` up to here.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Steps over `expected` if it is next.
    pub fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    pub fn expect(&mut self, expected: &str) -> Result<(), String> {
        if self.eat(expected) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{expected}`")))
        }
    }

    pub fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    pub fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&accept) {
            self.next();
        }
        self.since(start)
    }

    /// The text between the quote that is next and its end; escapes are left as they are.
    pub fn quoted(&mut self) -> Result<&'a str, String> {
        let quote = self.next().ok_or("a quoted text is expected")?;
        let start = self.at;
        loop {
            let end = self.at;
            match self.next() {
                None => return Err("a quoted text does not end".to_owned()),
                Some('\\') => {
                    self.next();
                }
                Some(it) if it == quote => return Ok(&self.text[start..end]),
                Some(_) => {}
            }
        }
    }

    /// A whole number.
    pub fn whole(&mut self) -> Result<i64, String> {
        let start = self.at;
        self.eat("-");
        self.take_while(|it| it.is_ascii_digit());
        let text = self.since(start);
        text.parse()
            .map_err(|_| format!("`{text}` is not a whole number"))
    }

    pub fn unexpected(&self, wanted: &str) -> String {
        match self.peek() {
            Some(found) => format!(
                "{wanted} is expected at character {}, not `{found}`",
                self.text[..self.at].chars().count() + 1
            ),
            None => format!("{wanted} is expected at the end"),
        }
    }
}

/// Replaces `\` followed by one of `escaped` by that character; any other `\` stands for itself.
pub(super) fn unescape(text: &str, escaped: &[char]) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match chars.peek() {
            Some(next) if char == '\\' && escaped.contains(next) => {
                plain.push(*next);
                chars.next();
            }
            _ => plain.push(char),
        }
    }
    plain
}
