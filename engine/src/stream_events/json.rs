//! JSON objects written straight into a buffer, member by member.

use serde::Serialize;

/// An object that is being written; what is put first comes first.
pub struct Object<'t> {
    text: &'t mut Vec<u8>,
    is_empty: bool,
}

impl<'t> Object<'t> {
    pub fn begin(text: &'t mut Vec<u8>) -> Self {
        text.push(b'{');
        Self {
            text,
            is_empty: true,
        }
    }

    pub fn end(self) {
        self.text.push(b'}');
    }

    /// Everything that the buffer holds, the open objects included.
    pub fn text(&self) -> &[u8] {
        self.text
    }

    pub fn put(&mut self, name: &'static str, value: impl Serialize) {
        self.name(name);
        serde_json::to_writer(&mut *self.text, &value).expect("codes, numbers and texts are JSON");
    }

    /// Writes an object as a member.
    pub fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut object = Object::begin(self.text);
        write(&mut object);
        object.end();
    }

    /// Writes an array with an object for each of `items`.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        items: &[T],
        write: impl Fn(&mut Object<'_>, &T),
    ) {
        self.name(name);
        self.text.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if 0 < index {
                self.text.push(b',');
            }
            let mut object = Object::begin(self.text);
            write(&mut object, item);
            object.end();
        }
        self.text.push(b']');
    }

    /// Names are ours and need no escaping.
    fn name(&mut self, name: &'static str) {
        if !self.is_empty {
            self.text.push(b',');
        }
        self.is_empty = false;
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_a_tree_of_values_would_be() {
        let mut text = Vec::new();
        let mut object = Object::begin(&mut text);
        object.put("text", "a\"b\nש");
        object.object("inner", |it| it.put("none", None::<u32>));
        object.objects("list", &[1, 2], |it, n| it.put("n", [*n, 0]));
        object.objects::<u8>("empty", &[], |_, _| {});
        object.end();
        let tree = serde_json::json!({
            "text": "a\"b\nש", "inner": { "none": null }, "list": [{ "n": [1, 0] }, { "n": [2, 0] }],
            "empty": [],
        });
        assert_eq!(String::from_utf8(text).unwrap(), tree.to_string());
    }
}
