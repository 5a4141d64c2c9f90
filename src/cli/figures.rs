//! Numbers as people read them, for plans.

/// 12,345.
pub(super) fn thousands(n: u64) -> String {
    super::progress::count(n)
}

/// Three figures and a letter: 804 k, 10.7 M, 1.23 G.
pub(super) fn short(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1e15 => (n / 1e15, " P"),
        n if n >= 1e12 => (n / 1e12, " T"),
        n if n >= 1e9 => (n / 1e9, " G"),
        n if n >= 1e6 => (n / 1e6, " M"),
        n if n >= 1e4 => (n / 1e3, " k"),
        n => return thousands(n.round() as u64),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// 804 kB, 10.7 MB, 512 B.
pub(super) fn bytes(n: u64) -> String {
    let text = short(n as f64);
    if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text} B") } else { format!("{text}B") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_figures() {
        for (n, text) in
            [(0.0, "0"), (999.0, "999"), (9_999.0, "9,999"), (804_096.0, "804 k"), (10_745_088.0, "10.7 M"), (7.9e12, "7.90 T")]
        {
            assert_eq!(short(n), text);
        }
        assert_eq!([bytes(512), bytes(1_500_000)], ["512 B", "1.50 MB"]);
    }
}
