//! Which names a loopback worker answers to: the defence against DNS rebinding. Pure.

/// True when a web page of another name cannot be behind this `Host` value: the name is local or configured; any port.
pub(crate) fn is_allowed(host: &str, configured: &[String]) -> bool {
    let name = without_port(host);
    let local = ["localhost", "127.0.0.1", "[::1]"];
    local.iter().any(|known| known.eq_ignore_ascii_case(name)) || configured.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// `name`, `name:port`, `[v6]` or `[v6]:port` without its port. Anything else comes back whole and matches nothing.
fn without_port(host: &str) -> &str {
    let digits = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    if host.starts_with('[') {
        return match host.split_once(']') {
            Some((address, "")) => &host[..address.len() + 1],
            Some((address, port)) if port.strip_prefix(':').is_some_and(digits) => &host[..address.len() + 1],
            _ => host,
        };
    }
    match host.split_once(':') {
        Some((name, port)) if digits(port) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn only_local_and_configured_names_pass() {
        let configured = vec!["worker.example".to_owned()];
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8117", true),
            ("127.0.0.1:1", true),
            ("[::1]", true),
            ("[::1]:8117", true),
            ("worker.example:80", true),
            ("Worker.Example", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8117", false),
            ("localhost:80:80", false),
            ("localhost@evil.example", false),
            ("[::1]evil", false),
            ("[::1", false),
            ("", false),
            ("localhost:abc", false),
            ("0.0.0.0:8117", false),
        ] {
            assert_eq!(is_allowed(host, &configured), expected, "{host:?}");
        }
    }
}
