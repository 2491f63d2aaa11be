//! Definitions and pictures that tests share.

use serde_json::{Value, json};

/// Asks for a nickname and approves who gives one.
pub fn form_definition(name: &str) -> Value {
    json!({
        "name": name,
        "title": "Ask for a nickname",
        "inputSchema": {"type": "object", "properties": {"title": {"type": "string"}}, "additionalProperties": false},
        "timeoutSeconds": 86_400,
        "evidence": {"answer": {"state": "Ask", "outcome": "submitted"}},
        "decisions": {"approved": {"anyOf": [["answer"]]}, "rejected": {}},
        "definition": {
            "QueryLanguage": "JSONata",
            "StartAt": "Ask",
            "States": {
                "Ask": {
                    "Type": "Task",
                    "Resource": "kyc:form",
                    "TimeoutSeconds": 3_600,
                    "Arguments": {"fields": {
                        "type": "object",
                        "required": ["nickname"],
                        "additionalProperties": false,
                        "properties": {"nickname": {"type": "string", "minLength": 1, "maxLength": 40}}
                    }},
                    "Assign": {"answer": "{% $states.result %}"},
                    "Next": "Asked"
                },
                "Asked": {
                    "Type": "Choice",
                    "Choices": [{"Condition": "{% $answer.outcome = 'submitted' %}", "Next": "Approved"}],
                    "Default": "Rejected"
                },
                "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
                "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}}
            }
        }
    })
}

/// The same, but it approves whatever was answered.
pub fn unsafe_definition(name: &str) -> Value {
    let mut definition = form_definition(name);
    definition["definition"]["States"]["Asked"]["Default"] = json!("Approved");
    definition
}

/// A valid PNG of one grey pixel.
pub const PNG_PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T',
    0x78, 0x9c, 0x63, 0x68, 0, 0, 0, 0x82, 0, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0, 0, 0, 0, b'I', b'E',
    b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// The header of a PNG that claims `width` x `height` pixels and has none of them.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = PNG_PIXEL[..16].to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 0, 0, 0, 0]);
    let crc = crc32(&bytes[12..29]);
    bytes.extend(crc.to_be_bytes());
    bytes.extend(&PNG_PIXEL[33..]);
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |it, _| {
            if it & 1 == 1 {
                it >> 1 ^ 0xedb8_8320
            } else {
                it >> 1
            }
        })
    })
}
