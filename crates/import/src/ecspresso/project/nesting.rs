//! How deep a Jsonnet program is nested, before it is analysed: the evaluator keeps its own stack, its analysis uses the
//! thread's (some 30 KiB a level without optimisation).

use rsjsonnet_lang::arena::Arena;
use rsjsonnet_lang::interner::StrInterner;
use rsjsonnet_lang::lexer::Lexer;
use rsjsonnet_lang::span::{SpanId, SpanManager};
use rsjsonnet_lang::token::{STokenKind as S, TokenKind};

/// Levels that are taken.
const MOST: usize = 1_000;
/// What a thread needs for them.
pub const STACK: usize = 64 * 1024 * 1024;

/// Where a program becomes too deep, as a range of bytes. What cannot even be read is left to the parser.
pub(super) fn too_deep(text: &str) -> Option<(usize, usize)> {
    let (arena, ast, interner, mut spans) = (Arena::new(), Arena::new(), StrInterner::new(), SpanManager::new());
    let (context, _) = spans.insert_source_context(text.len());
    let mut lexer = Lexer::new(&arena, &ast, &interner, &mut spans, context, text.as_bytes());
    // Each bracket's own level, and what follows each other in it nests: `local` in `local`, a call of a call. A comma ends that.
    let mut levels = vec![0_usize];
    let mut depth = 0_usize;
    let mut place: Option<SpanId> = None;
    while let Ok(token) = lexer.next_token() {
        let TokenKind::Simple(kind) = token.kind else {
            if token.kind == TokenKind::EndOfFile {
                break;
            }
            continue;
        };
        match kind {
            S::LeftParen | S::LeftBracket | S::LeftBrace => {
                levels.push(1);
                depth += 1;
            }
            S::RightParen | S::RightBracket | S::RightBrace => {
                depth -= levels.pop().unwrap_or_default();
                match levels.last_mut() {
                    // What was closed may be called, indexed or extended.
                    Some(level) => {
                        *level += 1;
                        depth += 1;
                    }
                    None => break,
                }
            }
            S::Comma => {
                let least = usize::from(levels.len() > 1);
                if let Some(level) = levels.last_mut() {
                    depth -= level.saturating_sub(least);
                    *level = least.min(*level);
                }
            }
            S::Local | S::Assert | S::If | S::Else | S::Function | S::For | S::Dot | S::Error | S::Import => {
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                    depth += 1;
                }
            }
            _ => {}
        }
        if depth > MOST {
            place = Some(token.span);
            break;
        }
    }
    let (_, start, end) = spans.get_span(place?);
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_and_length_is_not() {
        for deep in ["{a:", "[", "(", "local a=1;", "if true then ", "function(x) ", "assert true;", "[x for x in "] {
            let text = format!("{}1", deep.repeat(1_001));
            assert!(too_deep(&text).is_some(), "{deep}");
            assert!(too_deep(&deep.repeat(100)).is_none(), "{deep}");
        }
        assert!(too_deep(&format!("a{}", ".a".repeat(1_001))).is_some());
        assert!(too_deep(&format!("a{}", "()".repeat(1_001))).is_some());
        assert!(too_deep(&format!("[{}]", "{a: f(1).b, c: [1, 2]}, ".repeat(5_000))).is_none());
        assert!(too_deep(&format!("{{{}}}", "a: if b then c else d, ".repeat(5_000))).is_none());
        assert!(too_deep(&format!("'{}' // {}", "[".repeat(5_000), "(".repeat(5_000))).is_none());
        assert!(too_deep("]").is_none());
    }
}
