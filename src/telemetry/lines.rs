//! How a log line looks, as text or JSON. One event is one line, whatever its values hold.

use std::fmt::{self, Debug, Write};
use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::call;
use crate::config::{LogConfig, LogFormat};

/// The layer that writes lines.
pub(super) fn lines<S, W>(config: &LogConfig, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line looks the same whether its call was sampled or not.
    // The hint is repeated, or the two together have none: every trace line of every library would be
    // weighed at each call, which doubles its cost.
    let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let filter = filter.and(filter_fn(|metadata| metadata.target() != call::TARGET).with_max_level_hint(most));
    let lines = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(writer);
    match config.format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => lines.fmt_fields(debug_fn(field).delimited(" ")).with_filter(filter).boxed(),
    }
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    write!(OneLine(writer), "{value:?}")
}

/// Escapes what would end a line, or make a terminal show another one than was written: a value that
/// came from a client must not forge a line of its own.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        // The latter: separators of lines and paragraphs, and marks that turn the direction of text.
        if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            write!(self.0, "{}", c.escape_default())
        } else {
            self.0.write_char(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let config = LogConfig { format, level: "info".to_owned() };
        let layer = lines(&config, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn no_value_forges_a_line() {
        let forged = "a\r\nINFO audit: \u{1b}[2Kforged\u{85}\u{2028}\u{202e}\0";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(format, || {
                info!(shown = %forged, debugged = ?forged, plain = forged, "message {forged}");
            });
            let (line, rest) = text.split_once('\n').expect("a line");
            assert_eq!(rest, "", "one line");
            assert_eq!(line.matches("forged").count(), 4, "{line}");
            assert!(line.chars().all(|c| !c.is_ascii_control()), "{line}");
            if format == LogFormat::Json {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(line["plain"], forged);
            } else {
                assert!(line.chars().all(|c| !c.is_control() && c != '\u{2028}' && c != '\u{202e}'), "{line}");
            }
        }
    }

    #[test]
    fn a_line_of_text_reads_as_before() {
        let text = written(LogFormat::Text, || info!(target: "audit", realm = "default", generation = 2, "kept"));
        assert!(text.ends_with(" INFO audit: kept realm=\"default\" generation=2\n"), "{text}");
    }
}
