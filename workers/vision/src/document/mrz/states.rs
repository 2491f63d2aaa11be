//! The three letter codes of states and organisations that may stand in a zone.

/// Codes reserved for specimens; a document that carries one is never genuine.
///
/// Source: ICAO Doc 9303 part 3, section 5 (Utopia).
const SPECIMEN_CODES: &[&str] = &["UTO"];

/// ISO 3166-1 alpha-3.
const COUNTRY_CODES: &str = "ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR BHR \
BHS BIH BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG COK COL COM CPV CRI CUB CUW CXR CYM \
CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH FIN FJI FLK FRA FRO FSM GAB GBR GEO GGY GHA GIB GIN GLP GMB GNB GNQ \
GRC GRD GRL GTM GUF GUM GUY HKG HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM KIR \
KNA KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD MLI MLT MMR MNE MNG MNP MOZ MRT \
MSR MTQ MUS MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN PAK PAN PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE \
PYF QAT REU ROU RUS RWA SAU SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA TCD \
TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB VIR VNM VUT WLF WSM YEM ZAF ZMB ZWE";

/// Codes that ICAO adds: organisations, British nationals, stateless persons and refugees, Germany's single letter.
///
/// Source: ICAO Doc 9303 part 3, section 5, parts A to E.
const ICAO_CODES: &str = "D GBD GBN GBO GBP GBS EUE UNO UNA UNK XAA XBA XCC XCE XCO XDC XEC XES XIM XMP XOM XPO XSC XXA XXB XXC XXX \
RKS NTZ IAO XCT XMO";

/// Whether a state or organisation with this code issues documents; specimens' codes count.
#[must_use]
pub fn is_known_state(code: &str) -> bool {
    let mut known = COUNTRY_CODES
        .split(' ')
        .chain(ICAO_CODES.split(' '))
        .chain(SPECIMEN_CODES.iter().copied());
    known.any(|it| it == code)
}

/// Whether a code is reserved for specimens.
#[must_use]
pub fn is_specimen_state(code: &str) -> bool {
    SPECIMEN_CODES.contains(&code)
}
