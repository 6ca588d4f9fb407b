//! Finds what a Rust source refers to by path: `use` trees, and paths in the code. A rough reader, no
//! compiler: comments, strings and test-only items are skipped, macros are read as they stand.

use std::iter::Peekable;
use std::str::Chars;

/// What one file refers to.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    /// Each as segments from the root: `["crate", "store", "Vault"]`, or `["tonic", "Status"]`.
    pub(crate) paths: Vec<Vec<String>>,
    /// Modules that exist for tests only, as segments below the crate's root.
    pub(crate) test_modules: Vec<Vec<String>>,
}

/// Reads the source of `module`, given by its segments below the crate's root.
pub(crate) fn imports(module: &[String], source: &str) -> Imports {
    let mut reader = Reader {
        tokens: &tokens(source),
        module: module.to_vec(),
        imports: Imports::default(),
        bound: Vec::new(),
        in_code: Vec::new(),
    };
    reader.read();
    reader.finish()
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    /// `::`
    Step,
    Mark(char),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    module: Vec<String>,
    imports: Imports,
    /// Names that a `use` gave to something inside a crate.
    bound: Vec<String>,
    in_code: Vec<Vec<String>>,
}

impl Reader<'_> {
    fn read(&mut self) {
        // Braces open here; those of an inline module carry its name.
        let mut open: Vec<bool> = Vec::new();
        while let Some(token) = self.tokens.first() {
            match token {
                Token::Mark('#') if self.at_test_attribute() => self.skip_test_item(),
                Token::Word(word) if word == "use" && !matches!(self.tokens.get(1), Some(Token::Mark('<'))) => {
                    self.advance(1);
                    self.read_use(&[]);
                }
                Token::Word(word) if word == "mod" && matches!(self.tokens.get(2), Some(Token::Mark('{'))) => {
                    self.module.extend(self.word(1));
                    open.push(true);
                    self.advance(3);
                }
                Token::Word(_) | Token::Step => self.read_path(),
                Token::Mark('{') => {
                    open.push(false);
                    self.advance(1);
                }
                Token::Mark('}') => {
                    if open.pop() == Some(true) {
                        self.module.pop();
                    }
                    self.advance(1);
                }
                _ => self.advance(1),
            }
        }
    }

    /// `rsa::KeyPair` after `use aws_lc_rs::rsa` is no path of a crate `rsa`, and was counted already.
    fn finish(mut self) -> Imports {
        self.in_code.retain(|path| !self.bound.contains(&path[0]));
        self.imports.paths.append(&mut self.in_code);
        self.imports
    }

    fn advance(&mut self, count: usize) {
        self.tokens = &self.tokens[count.min(self.tokens.len())..];
    }

    fn word(&self, at: usize) -> Option<String> {
        match self.tokens.get(at) {
            Some(Token::Word(word)) => Some(word.clone()),
            _ => None,
        }
    }

    /// Reads `a::b`, `a::{b, c::d}`, `a as b`, `a::*`, with `prefix` in front of each.
    fn read_use(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        loop {
            match self.tokens.first() {
                Some(Token::Word(word)) if word == "as" => self.advance(2),
                Some(Token::Word(word)) => {
                    path.push(word.clone());
                    self.advance(1);
                }
                Some(Token::Step | Token::Mark('*')) => self.advance(1),
                Some(Token::Mark('{')) => {
                    self.advance(1);
                    while !matches!(self.tokens.first(), None | Some(Token::Mark('}'))) {
                        self.read_use(&path);
                        if self.tokens.first() == Some(&Token::Mark(',')) {
                            self.advance(1);
                        }
                    }
                    return self.advance(1);
                }
                _ => {
                    if path.len() > 1 {
                        self.bound.extend(path.last().cloned());
                    }
                    return self.found(&path);
                }
            }
        }
    }

    /// Reads a path in the code. A word alone is a name of this module, or was imported.
    fn read_path(&mut self) {
        let mut path = Vec::new();
        if self.tokens.first() == Some(&Token::Step) {
            self.advance(1);
        }
        while let Some(word) = self.word(0) {
            path.push(word);
            self.advance(1);
            if self.tokens.first() != Some(&Token::Step) {
                break;
            }
            self.advance(1);
        }
        let extern_crate = path == ["extern"] && self.tokens.first().is_some_and(|token| token.is("crate"));
        if extern_crate {
            self.advance(1);
            path = self.word(0).into_iter().collect();
        }
        if extern_crate {
            self.found(&path);
        } else if path.len() > 1 {
            self.in_code.push(self.absolute(&path));
        }
    }

    fn found(&mut self, path: &[String]) {
        if !path.is_empty() {
            self.imports.paths.push(self.absolute(path));
        }
    }

    /// The path from the root, wherever in the crate it is written.
    fn absolute(&self, path: &[String]) -> Vec<String> {
        let mut segments = path.iter().map(String::as_str).peekable();
        let mut absolute = match segments.peek() {
            // The binary knows the library by its name.
            Some(&("crate" | "token_authority")) => {
                segments.next();
                Vec::new()
            }
            Some(&("self" | "super")) => self.module.clone(),
            _ => return path.to_vec(),
        };
        for segment in segments {
            match segment {
                "self" => {}
                "super" => drop(absolute.pop()),
                name => absolute.push(name.to_owned()),
            }
        }
        absolute.insert(0, "crate".to_owned());
        absolute
    }

    /// `#[cfg(test)]`, or `test` as the first of several conditions.
    fn at_test_attribute(&self) -> bool {
        let words = |from: usize, expected: &[&str]| {
            expected.iter().enumerate().all(|(index, expected)| match self.tokens.get(from + index) {
                Some(Token::Word(word)) => word == expected,
                Some(Token::Mark(mark)) => expected.chars().eq([*mark]),
                _ => false,
            })
        };
        words(1, &["[", "cfg", "(", "test", ")"]) || words(1, &["[", "cfg", "(", "all", "(", "test"])
    }

    /// Skips attributes and the item after them; notes the module, if it is one in a file of its own.
    fn skip_test_item(&mut self) {
        let mut file = None;
        while self.tokens.first() == Some(&Token::Mark('#')) {
            self.advance(1);
            if let [_, Token::Word(name), _, Token::Text(path), ..] = self.tokens
                && name == "path"
            {
                file = path.strip_suffix(".rs").map(str::to_owned);
            }
            self.skip_group();
        }
        while let Some(token) = self.tokens.first() {
            match token {
                Token::Word(word) if word == "mod" && matches!(self.tokens.get(2), Some(Token::Mark(';'))) => {
                    let mut module = self.module.clone();
                    // A `path` is relative to the directory, so it replaces a last segment that is a
                    // file's own name; both readings are noted, of which one exists.
                    if let Some(file) = &file {
                        let mut sibling = module.clone();
                        sibling.pop();
                        sibling.extend(file.split('/').map(str::to_owned));
                        self.imports.test_modules.push(sibling);
                    }
                    module.extend(file.clone().or_else(|| self.word(1)));
                    self.imports.test_modules.push(module);
                    return self.advance(3);
                }
                Token::Mark(';') => return self.advance(1),
                Token::Mark('{') => return self.skip_group(),
                Token::Mark('(' | '[') => self.skip_group(),
                _ => self.advance(1),
            }
        }
    }

    /// Skips from an opening bracket to behind its closing one.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.tokens.first() {
            match token {
                Token::Mark('(' | '[' | '{') => depth += 1,
                Token::Mark(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            self.advance(1);
            if depth == 0 {
                return;
            }
        }
    }
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = source.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '/' if chars.peek() == Some(&'/') => skip_line(&mut chars),
            '/' if chars.peek() == Some(&'*') => skip_block(&mut chars),
            '"' => tokens.push(Token::Text(text(&mut chars))),
            '\'' => skip_char_or_lifetime(&mut chars),
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                tokens.push(Token::Step);
            }
            char if char == '_' || char.is_alphanumeric() => {
                let word = word(char, &mut chars);
                match (word.as_str(), chars.peek()) {
                    ("r" | "br" | "cr", Some('"' | '#')) => raw_text_or_name(&mut chars, &mut tokens),
                    // `b"…"` and `c"…"`: the text follows by itself.
                    ("b" | "c", Some('"' | '\'')) => {}
                    _ => tokens.push(Token::Word(word)),
                }
            }
            char if char.is_whitespace() => {}
            char => tokens.push(Token::Mark(char)),
        }
    }
    tokens
}

fn word(first: char, chars: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::from(first);
    while let Some(char) = chars.next_if(|char| *char == '_' || char.is_alphanumeric()) {
        word.push(char);
    }
    word
}

fn skip_line(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|char| *char != '\n').is_some() {}
}

fn skip_block(chars: &mut Peekable<Chars<'_>>) {
    chars.next();
    let mut depth = 1;
    while depth > 0 {
        match chars.next() {
            Some('/') if chars.next_if_eq(&'*').is_some() => depth += 1,
            Some('*') if chars.next_if_eq(&'/').is_some() => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

fn text(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => drop(chars.next()),
            char => text.push(char),
        }
    }
    text
}

/// Behind `r`: a raw string, or a raw name such as `r#type`.
fn raw_text_or_name(chars: &mut Peekable<Chars<'_>>, tokens: &mut Vec<Token>) {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if chars.next_if_eq(&'"').is_none() {
        if let Some(first) = chars.next() {
            tokens.push(Token::Word(word(first, chars)));
        }
        return;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let mut text = String::new();
    while !text.ends_with(&end) {
        let Some(char) = chars.next() else { break };
        text.push(char);
    }
    tokens.push(Token::Text(text));
}

/// `'x'` and `'\n'` end with a quote; a lifetime does not, and its name is no path.
fn skip_char_or_lifetime(chars: &mut Peekable<Chars<'_>>) {
    match chars.next() {
        Some('\\') => {
            chars.next();
            while chars.next().is_some_and(|char| char != '\'') {}
        }
        Some(char) if chars.peek() == Some(&'\'') => {
            debug_assert!(char != '\'');
            chars.next();
        }
        Some(char) => drop(word(char, chars)),
        None => {}
    }
}
