//! Whether, where and how many traces are exported, and how that is written. Exports nothing.

use http::Uri;

use super::document::Raw;
use super::value;

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceConfig {
    /// Base URL of an OpenTelemetry collector, OTLP over gRPC; `None`: nothing is traced.
    pub otlp_endpoint: Option<String>,
    /// How many of the calls that belong to no trace yet start one.
    pub ratio: TraceRatio,
}

/// A part of all calls, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRatio(u32);

impl TraceRatio {
    const WHOLE: u32 = 1_000_000;

    /// Whether a number that is uniformly random over all of its values falls into the part.
    pub fn takes(self, random: u64) -> bool {
        let below = u128::from(random) * u128::from(Self::WHOLE);
        below < u128::from(self.0) << 64
    }

    /// From a number between 0 and 1 with at most six decimals.
    fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let millionths = format!("{decimals:0<6}").parse::<u32>().ok()?;
        let ratio = whole.parse::<u32>().ok()?.checked_mul(Self::WHOLE)?.checked_add(millionths)?;
        (ratio <= Self::WHOLE).then_some(Self(ratio))
    }
}

impl Default for TraceRatio {
    /// A hundredth.
    fn default() -> Self {
        Self(Self::WHOLE / 100)
    }
}

/// Parses the URL of a collector.
pub(super) fn endpoint(raw: &Raw) -> Result<String, String> {
    value::text(raw).and_then(checked_endpoint).ok_or_else(|| {
        "must be a URL such as \"http://127.0.0.1:4317\": http (traces are exported without TLS, so to a collector on \
         this machine or in this pod), a host, no user, no path"
            .to_owned()
    })
}

fn checked_endpoint(text: &str) -> Option<String> {
    let url: Uri = text.parse().ok()?;
    let plain = !text.contains(['@', '?', '#']) && matches!(url.path(), "" | "/");
    let reachable = url.scheme_str() == Some("http") && url.host().is_some_and(|host| !host.is_empty());
    (plain && reachable).then(|| text.trim_end_matches('/').to_owned())
}

/// Parses a part of all calls.
pub(super) fn ratio(raw: &Raw) -> Result<TraceRatio, String> {
    let ratio = match raw {
        Raw::Integer(integer) => TraceRatio::parse(&integer.to_string()),
        Raw::Other(text) | Raw::Word(text) => TraceRatio::parse(text),
        _ => None,
    };
    ratio.ok_or_else(|| "must be a number from 0 to 1 with at most six decimals, such as 0.01".to_owned())
}

/// The same for text from the command line, which says itself which flag it is.
pub(crate) fn otlp_endpoint_flag(text: &str) -> Result<String, String> {
    endpoint(&Raw::Word(text.to_owned()))
}

/// The same for text from the command line, which says itself which flag it is.
pub(crate) fn trace_ratio_flag(text: &str) -> Result<TraceRatio, String> {
    ratio(&Raw::Word(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_exact() {
        for (text, millionths) in [("0", 0), ("0.0", 0), ("1", 1_000_000), ("1.0", 1_000_000), ("0.000001", 1)] {
            assert_eq!(TraceRatio::parse(text), Some(TraceRatio(millionths)), "{text}");
        }
        assert_eq!(TraceRatio::parse("0.01"), Some(TraceRatio::default()));
        for wrong in
            ["", ".", "1.", ".5", "-0", "+1", "1.000001", "2", "0.0000001", "1e-2", "nan", "inf", "99999999999"]
        {
            assert_eq!(TraceRatio::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_ratio_takes_its_part_of_all_numbers() {
        let taken = |text, random| TraceRatio::parse(text).expect(text).takes(random);
        assert!(!taken("0", 0) && taken("1", u64::MAX) && taken("0.000001", 0));
        assert!(taken("0.5", u64::MAX / 2) && !taken("0.5", u64::MAX / 2 + 1));
    }
}
