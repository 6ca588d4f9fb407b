//! The one map from rejections to answers, for HTTP (RFC 6750, section 3) and for gRPC. Messages are
//! constant: what was wrong with a token is for logs, not for whoever made it up.

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tonic::Status;

use super::rejection::{Lacking, NotAuthenticated, Rejection};

/// How a caller reads its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Http,
    Grpc,
}

impl Shape {
    /// By the content type: `application/grpc`, with or without a suffix, is gRPC.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE) {
            Some(kind) if kind.as_bytes().starts_with(b"application/grpc") => Self::Grpc,
            _ => Self::Http,
        }
    }

    /// The answer to a request that does not pass.
    pub(super) fn refuse<B: Default>(self, rejection: &Rejection) -> Response<B> {
        match self {
            Self::Grpc => status(rejection).into_http(),
            Self::Http => answer(rejection),
        }
    }
}

fn status(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::NotAuthenticated(_) => Status::unauthenticated("a valid access token is needed"),
        Rejection::Insufficient(_) => Status::permission_denied("the access token does not allow this"),
        Rejection::Unavailable(_) => Status::unavailable("the access token can't be checked now"),
    }
}

fn answer<B: Default>(rejection: &Rejection) -> Response<B> {
    let (code, name, value) = match rejection {
        // RFC 6750, section 3.1: without a token, no error code.
        Rejection::NotAuthenticated(NotAuthenticated::NoToken) => bearer(StatusCode::UNAUTHORIZED, "Bearer"),
        Rejection::NotAuthenticated(_) => bearer(StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\""),
        Rejection::Insufficient(Lacking::Scope(scope)) => {
            // A scope has no quotation mark and no backslash.
            bearer(StatusCode::FORBIDDEN, &format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""))
        }
        Rejection::Insufficient(Lacking::Role(_) | Lacking::Claim(_)) => {
            bearer(StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\"")
        }
        Rejection::Unavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, Some(HeaderValue::from_static("1")))
        }
    };
    let mut response = Response::new(B::default());
    *response.status_mut() = code;
    response.headers_mut().extend(value.map(|value| (name, value)));
    response
}

fn bearer(code: StatusCode, challenge: &str) -> (StatusCode, HeaderName, Option<HeaderValue>) {
    (code, WWW_AUTHENTICATE, HeaderValue::from_str(challenge).ok())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::rejection::Outage;
    use super::*;
    use crate::domain::ids::Scope;
    use crate::verify;

    #[test]
    fn each_rejection_has_its_answer_on_both_transports() {
        let token = |why| Rejection::NotAuthenticated(NotAuthenticated::Token(why));
        let lacks_scope = Lacking::Scope(Scope::parse("orders.read").expect("a scope"));
        let invalid = "Bearer error=\"invalid_token\"";
        let insufficient = "Bearer error=\"insufficient_scope\"";
        let with_scope = "Bearer error=\"insufficient_scope\", scope=\"orders.read\"";
        #[rustfmt::skip]
        let cases = [
            (Rejection::NotAuthenticated(NotAuthenticated::NoToken), 401, Some("Bearer"), Code::Unauthenticated),
            (Rejection::NotAuthenticated(NotAuthenticated::Ambiguous), 401, Some(invalid), Code::Unauthenticated),
            (Rejection::NotAuthenticated(NotAuthenticated::WrongAudience), 401, Some(invalid), Code::Unauthenticated),
            (Rejection::NotAuthenticated(NotAuthenticated::BoundToKey), 401, Some(invalid), Code::Unauthenticated),
            (Rejection::NotAuthenticated(NotAuthenticated::NotActive), 401, Some(invalid), Code::Unauthenticated),
            (token(verify::Rejection::BadSignature), 401, Some(invalid), Code::Unauthenticated),
            (token(verify::Rejection::Expired), 401, Some(invalid), Code::Unauthenticated),
            (Rejection::Insufficient(lacks_scope), 403, Some(with_scope), Code::PermissionDenied),
            (Rejection::Insufficient(Lacking::Role("a".into())), 403, Some(insufficient), Code::PermissionDenied),
            (Rejection::Insufficient(Lacking::Claim("a".into())), 403, Some(insufficient), Code::PermissionDenied),
            (Rejection::Unavailable(Outage::Keys), 503, None, Code::Unavailable),
            (Rejection::Unavailable(Outage::Revocations), 503, None, Code::Unavailable),
            (Rejection::Unavailable(Outage::Introspection), 503, None, Code::Unavailable),
        ];
        for (rejection, code, challenge, grpc) in cases {
            let http: Response<()> = Shape::Http.refuse(&rejection);
            let said = http.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().expect("text"));
            assert_eq!((http.status().as_u16(), said), (code, challenge), "{rejection}");
            assert_eq!(http.headers().contains_key(RETRY_AFTER), code == 503);
            let answer: Response<()> = Shape::Grpc.refuse(&rejection);
            let status = Status::from_header_map(answer.headers()).expect("trailers only");
            assert_eq!((answer.status().as_u16(), status.code()), (200, grpc), "{rejection}");
        }
    }

    #[test]
    fn the_content_type_chooses_the_shape() {
        for (kind, shape) in [
            ("application/grpc", Shape::Grpc),
            ("application/grpc+proto", Shape::Grpc),
            ("application/json", Shape::Http),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(Shape::of(&headers), shape, "{kind}");
        }
        assert_eq!(Shape::of(&HeaderMap::new()), Shape::Http);
    }
}
