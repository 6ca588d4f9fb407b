//! Finds the one token of a request: in `authorization`, else in a cookie. Checks nothing of it.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use super::rejection::NotAuthenticated;

/// The bearer token (RFC 6750, section 2.1). An `authorization` header decides alone, whatever it
/// is: a cookie that a browser adds by itself must not take the place of what the caller chose.
pub(super) fn token<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Result<&'a str, NotAuthenticated> {
    if headers.contains_key(AUTHORIZATION) {
        return one(headers.get_all(AUTHORIZATION).iter().map(bearer));
    }
    let Some(name) = cookie else { return Err(NotAuthenticated::NoToken) };
    one(headers.get_all(COOKIE).iter().flat_map(|header| cookies(header, name)).map(Some))
}

/// Of two, a proxy in front may have checked the other.
fn one<'a>(mut found: impl Iterator<Item = Option<&'a str>>) -> Result<&'a str, NotAuthenticated> {
    match (found.next(), found.next()) {
        (None, _) => Err(NotAuthenticated::NoToken),
        (Some(Some(token)), None) if !token.is_empty() => Ok(token),
        _ => Err(NotAuthenticated::Ambiguous),
    }
}

fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// RFC 6265, section 5.4: pairs separated by `; `.
fn cookies<'a>(header: &'a HeaderValue, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = header.to_str().unwrap_or_default().split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    #[test]
    fn the_header_wins_and_nothing_is_guessed() {
        use NotAuthenticated::{Ambiguous, NoToken};
        #[rustfmt::skip]
        let cases: [(Headers, Result<&str, NotAuthenticated>); 14] = [
            (&[], Err(NoToken)),
            (&[("authorization", "Bearer a")], Ok("a")),
            (&[("authorization", "bearer a")], Ok("a")),
            (&[("authorization", "Bearer a"), ("cookie", "at=b")], Ok("a")),
            (&[("cookie", "x=y; at=b; z=")], Ok("b")),
            (&[("cookie", "x=y"), ("cookie", "at=b")], Ok("b")),
            (&[("cookie", "xat=b")], Err(NoToken)),
            (&[("cookie", "at=b; at=c")], Err(Ambiguous)),
            (&[("cookie", "at=")], Err(Ambiguous)),
            (&[("authorization", "Basic YTpi"), ("cookie", "at=b")], Err(Ambiguous)),
            (&[("authorization", ""), ("cookie", "at=b")], Err(Ambiguous)),
            (&[("authorization", "Bearer ")], Err(Ambiguous)),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], Err(Ambiguous)),
            (&[("authorization", "a")], Err(Ambiguous)),
        ];
        for (headers, expected) in cases {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
                map.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            assert_eq!(token(&map, Some("at")), expected, "{headers:?}");
        }
        let cookie = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("at=b"))]);
        assert_eq!(token(&cookie, None), Err(NoToken), "cookies are read only where they are named");
    }
}
