//! Reads the few parts of a flatbuffer that a tflite file needs, with every
//! offset checked.

use super::onnx::OnnxError;

/// A table: fields are found through its table of offsets.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], OnnxError> {
    let end = at.checked_add(N).ok_or(OnnxError::Truncated)?;
    bytes
        .get(at..end)
        .and_then(|it| it.try_into().ok())
        .ok_or(OnnxError::Truncated)
}

fn offset(bytes: &[u8], at: usize) -> Result<usize, OnnxError> {
    usize::try_from(u32::from_le_bytes(number(bytes, at)?)).map_err(|_| OnnxError::Truncated)
}

impl<'a> Table<'a> {
    /// The table that the file is about.
    pub fn root(bytes: &'a [u8]) -> Result<Self, OnnxError> {
        Ok(Self {
            bytes,
            at: offset(bytes, 0)?,
        })
    }

    /// Where a field's value lies, or `None` if it has its default.
    fn field(&self, index: usize) -> Result<Option<usize>, OnnxError> {
        let back = i32::from_le_bytes(number(self.bytes, self.at)?);
        let offsets = self
            .at
            .checked_add_signed(-isize::try_from(back).map_err(|_| OnnxError::Truncated)?)
            .ok_or(OnnxError::Truncated)?;
        let size = usize::from(u16::from_le_bytes(number(self.bytes, offsets)?));
        let entry = 4 + 2 * index;
        if size < entry + 2 {
            return Ok(None);
        }
        let distance = u16::from_le_bytes(number(self.bytes, offsets + entry)?);
        Ok((distance != 0).then(|| self.at + usize::from(distance)))
    }

    pub fn byte(&self, index: usize) -> Result<i8, OnnxError> {
        let Some(at) = self.field(index)? else {
            return Ok(0);
        };
        Ok(i8::from_le_bytes(number(self.bytes, at)?))
    }

    pub fn int(&self, index: usize) -> Result<i32, OnnxError> {
        let Some(at) = self.field(index)? else {
            return Ok(0);
        };
        Ok(i32::from_le_bytes(number(self.bytes, at)?))
    }

    pub fn table(&self, index: usize) -> Result<Option<Self>, OnnxError> {
        let Some(at) = self.field(index)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            bytes: self.bytes,
            at: at + offset(self.bytes, at)?,
        }))
    }

    /// A vector's first element and length.
    fn vector(&self, index: usize) -> Result<(usize, usize), OnnxError> {
        let Some(at) = self.field(index)? else {
            return Ok((0, 0));
        };
        let at = at + offset(self.bytes, at)?;
        Ok((at + 4, offset(self.bytes, at)?))
    }

    pub fn bytes(&self, index: usize) -> Result<&'a [u8], OnnxError> {
        let (at, n) = self.vector(index)?;
        self.bytes
            .get(at..at.saturating_add(n))
            .ok_or(OnnxError::Truncated)
    }

    pub fn ints(&self, index: usize) -> Result<Vec<i32>, OnnxError> {
        let (at, n) = self.vector(index)?;
        let end = n
            .checked_mul(4)
            .and_then(|it| it.checked_add(at))
            .ok_or(OnnxError::Truncated)?;
        let (numbers, _) = self
            .bytes
            .get(at..end)
            .ok_or(OnnxError::Truncated)?
            .as_chunks();
        Ok(numbers.iter().map(|it| i32::from_le_bytes(*it)).collect())
    }

    pub fn tables(&self, index: usize) -> Result<Vec<Self>, OnnxError> {
        let (at, n) = self.vector(index)?;
        if self.bytes.len() < n {
            return Err(OnnxError::Truncated);
        }
        (0..n)
            .map(|it| {
                let at = at + 4 * it;
                Ok(Self {
                    bytes: self.bytes,
                    at: at + offset(self.bytes, at)?,
                })
            })
            .collect()
    }
}
