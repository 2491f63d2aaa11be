//! `Idempotency-Key`: what makes it safe to repeat a call whose answer was lost.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchemaRef, Registry},
    types::Type,
};

use crate::refusal::{self, Refusal};

/// Name of the header.
const HEADER: &str = "Idempotency-Key";

/// Every operation that needs a key lists this among its refusals.
const IDEMPOTENCY_KEY_MISSING: Refusal = Refusal {
    status: 400,
    code: "idempotency_key_missing",
    when: "there is no header `Idempotency-Key`",
};

/// The key of a call; without one the call is refused as `idempotency_key_missing`.
pub struct IdempotencyKey(pub String);

impl<'a> ApiExtractor<'a> for IdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = String;
    type ParamRawType = String;

    fn register(registry: &mut Registry) {
        <String as Type>::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(<String as Type>::schema_ref())
    }

    fn param_raw_type(&self) -> Option<&String> {
        Some(&self.0)
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<String>,
    ) -> poem::Result<Self> {
        let Some(key) = request.headers().get(HEADER).filter(|it| !it.is_empty()) else {
            let detail = "choose a key for what the call makes, and repeat the call with it";
            return Err(IDEMPOTENCY_KEY_MISSING
                .detail::<refusal::Anywhere>(detail)
                .into_error());
        };
        match key.to_str() {
            Ok(key) => Ok(Self(key.to_owned())),
            Err(_) => Err(refusal::MALFORMED_REQUEST
                .detail("`Idempotency-Key` is visible ASCII")
                .into_error()),
        }
    }
}
