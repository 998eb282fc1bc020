//! The client against servers that do strange things.
use quorate_client::{ClientError, Connection, Options};
use quorate_protocol::header::{RequestFrame, encode_response};
use quorate_protocol::messages::ApiVersionsResponse;
use quorate_protocol::messages::api_versions_response::ApiVersion;
use quorate_protocol::{AnyResponse, ApiKey, ErrorCode};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A server for one connection; the script sees each request and writes what it likes.
fn serve(script: impl Fn(RequestFrame, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut frame).unwrap();
            script(RequestFrame::decode(frame.into()).unwrap(), &mut stream);
        }
    });
    address
}

fn answer(stream: &mut TcpStream, response: &AnyResponse, version: i16, correlation_id: i32) {
    let frame = encode_response(response, version, correlation_id).unwrap();
    stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(&frame).unwrap();
}

fn api_versions(error: ErrorCode) -> AnyResponse {
    let vote = ApiVersion {
        api_key: ApiKey::Vote.id(),
        min_version: 0,
        max_version: 1,
        ..Default::default()
    };
    AnyResponse::ApiVersions(ApiVersionsResponse {
        error_code: error.code(),
        api_keys: vec![vote],
        ..Default::default()
    })
}

fn options() -> Options {
    Options { request_timeout: Duration::from_millis(200), ..Options::default() }
}

#[test]
fn versions_are_negotiated_down_for_an_old_server() {
    let address = serve(|request, stream| {
        let error =
            if request.version > 0 { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
        answer(stream, &api_versions(error), 0, request.correlation_id);
    });
    let connection = Connection::connect(&address, options()).unwrap();
    assert_eq!(connection.version_for(ApiKey::Vote), Some(1));
    assert_eq!(connection.version_for(ApiKey::Fetch), None);
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let address = serve(|request, stream| {
        let response = api_versions(ErrorCode::None);
        answer(stream, &response, request.version, request.correlation_id + 1);
    });
    let error = Connection::connect(&address, options()).unwrap_err();
    assert!(matches!(error, ClientError::Correlation { expected: 0, got: 1, .. }), "{error}");
}

#[test]
fn a_frame_of_impossible_length_is_refused_before_it_is_read() {
    for length in [-1, 0, 3, i32::MAX] {
        let address = serve(move |_, stream| stream.write_all(&length.to_be_bytes()).unwrap());
        let error = Connection::connect(&address, options()).unwrap_err();
        assert!(matches!(error, ClientError::FrameLength { .. }), "{length}: {error}");
    }
}

#[test]
fn silence_is_a_timeout_and_a_close_is_told_apart() {
    let address = serve(|_, _| {});
    let error = Connection::connect(&address, options()).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { api: ApiKey::ApiVersions, .. }), "{error}");
    let address = serve(|_, stream| {
        stream.write_all(&[0, 0, 0, 9, 1, 2]).unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let error = Connection::connect(&address, options()).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
}

#[test]
fn nobody_at_the_address_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Connection::connect(&address, options()).unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
}
