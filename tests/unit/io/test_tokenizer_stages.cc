// The stages one by one: normalizers and what they say their bytes stand for, pre-tokenizers, patterns, decoders.
// Expected values are those that the `tokenizers` library documents or tests itself with.
#include <gtest/gtest.h>

#include "core/io/tokenizer/byte_alphabet.h"
#include "core/io/tokenizer/decoders.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/pattern.h"
#include "core/io/tokenizer/pre_tokenizers.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

using Spans = std::vector<std::pair<uint32_t, uint32_t>>;
using Words = std::vector<std::string>;

AlignedText normalized(const char* spec, const std::string& text) {
  AlignedText t(text, 0);
  make_normalizer(Json::parse(spec), "t")->apply(t, Budget(text.size()));
  EXPECT_EQ(t.text.size(), t.align.size());
  return t;
}

Spans spans(const AlignedText& t) {
  Spans out;
  for (const Align& a : t.align) out.emplace_back(a.begin, a.end);
  return out;
}

TEST(Normalizers, Texts) {
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "e\u0301 \u212B \u1100\u1161\u11A8").text, "é Å 각");
  EXPECT_EQ(normalized(R"({"type":"NFD"})", "é각").text, "e\u0301\u1100\u1161\u11A8");
  EXPECT_EQ(normalized(R"({"type":"NFKC"})", "ﬁ①e\u0301").text, "fi1é");
  EXPECT_EQ(normalized(R"({"type":"NFKD"})", "ﬁé").text, "fie\u0301");
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "a\u0301\u0323").text, "\u1EA1\u0301");   // marks change places
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "a\u0323\u0301b\u0301").text, "\u1EA1\u0301b\u0301");
  EXPECT_EQ(normalized(R"({"type":"Lowercase"})", "ÀİΣ").text, "ài\u0307σ");
  EXPECT_EQ(normalized(R"({"type":"Strip"})", " \u00A0é x\n").text, "é x");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", " é ").text, "é ");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"▁"})", "Hey").text, "▁Hey");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"▁"})", "").text, "");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "})", "This   is  a\n test").text,
            "This is a test");
  EXPECT_EQ(normalized(R"({"type":"ByteLevel"})", "a é").text, "aĠÃ©");
  EXPECT_EQ(normalized(R"({"type":"Sequence","normalizers":[{"type":"NFKD"},{"type":"StripAccents"},
                           {"type":"Lowercase"}]})", "Cụ thể…").text, "cu the...");
}

TEST(Normalizers, Alignments) {
  EXPECT_EQ(spans(normalized(R"({"type":"NFD"})", "élégant")),
            (Spans{{0, 2}, {0, 2}, {0, 2}, {2, 3}, {3, 5}, {3, 5}, {3, 5}, {5, 6}, {6, 7}, {7, 8}, {8, 9}}));
  EXPECT_EQ(spans(normalized(R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"}]})",
                             "élégant")),
            (Spans{{0, 2}, {2, 3}, {3, 5}, {5, 6}, {6, 7}, {7, 8}, {8, 9}}));
  EXPECT_EQ(spans(normalized(R"({"type":"StripAccents"})", "e\u0304\u0304\u0304o")), (Spans{{0, 1}, {7, 8}}));
  EXPECT_EQ(spans(normalized(R"({"type":"Replace","pattern":{"String":"''"},"content":"\""})", "a''b")),
            (Spans{{0, 1}, {2, 3}, {3, 4}}));
  EXPECT_EQ(spans(normalized(R"({"type":"Prepend","prepend":"__"})", "ab")), (Spans{{0, 1}, {0, 1}, {0, 1}, {1, 2}}));
}

struct Cut {
  Words words;
  Spans at;   // of the input, in bytes
};

Cut cut(const char* spec, const std::string& text) {
  PreTokenized words;
  words.append(AlignedText(text, 0), 0, text.size(), -1);
  make_pre_tokenizer(Json::parse(spec), "t")->apply(words, Budget(text.size()));
  EXPECT_EQ(words.text.size(), words.align.size());
  Cut out;
  for (const Split& s : words.splits) {
    out.words.emplace_back(words.view(s));
    out.at.emplace_back(words.align[s.begin].begin, words.align[s.end - 1].end);
  }
  return out;
}

Words split_words(const std::string& behavior, bool invert = false) {
  const std::string spec = R"({"type":"Split","pattern":{"String":"-"},"behavior":")" + behavior + R"(","invert":)" +
                           (invert ? "true}" : "false}");
  return cut(spec.c_str(), "the-final--countdown").words;
}

TEST(PreTokenizers, SplitBehaviors) {
  EXPECT_EQ(split_words("Removed"), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(split_words("Isolated"), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split_words("MergedWithPrevious"), (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split_words("MergedWithNext"), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split_words("Contiguous"), (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split_words("Removed", true), (Words{"-", "-", "-"}));
}

TEST(PreTokenizers, Words) {
  EXPECT_EQ(cut(R"({"type":"Digits"})", "Hey 123 friend!").words, (Words{"Hey ", "123", " friend!"}));
  EXPECT_EQ(cut(R"({"type":"Digits","individual_digits":true})", "Hey 12½").words, (Words{"Hey ", "1", "2", "½"}));
  EXPECT_EQ(cut(R"({"type":"Whitespace"})", "How are you  doing?!").words, (Words{"How", "are", "you", "doing", "?!"}));
  EXPECT_EQ(cut(R"({"type":"WhitespaceSplit"})", "Hey, man!\u3000Good").words, (Words{"Hey,", "man!", "Good"}));
  const Cut punctuation = cut(R"({"type":"Punctuation"})", "Hey friend!     How are you?!?");
  EXPECT_EQ(punctuation.words, (Words{"Hey friend", "!", "     How are you", "?", "!", "?"}));
  EXPECT_EQ(punctuation.at, (Spans{{0, 10}, {10, 11}, {11, 27}, {27, 28}, {28, 29}, {29, 30}}));
  EXPECT_EQ(cut(R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Punctuation"}]})",
                "Hey friend!     How").words, (Words{"Hey", "friend", "!", "How"}));
}

TEST(PreTokenizers, ByteLevel) {
  const Cut plain = cut(R"({"type":"ByteLevel","add_prefix_space":false})", "Hello my friend, how is your day going?");
  EXPECT_EQ(plain.words,
            (Words{"Hello", "Ġmy", "Ġfriend", ",", "Ġhow", "Ġis", "Ġyour", "Ġday", "Ġgoing", "?"}));
  EXPECT_EQ(plain.at[1], (std::pair<uint32_t, uint32_t>(5, 8)));
  const Cut prefix = cut(R"({"type":"ByteLevel","add_prefix_space":true})", "Hello my");
  EXPECT_EQ(prefix.words, (Words{"ĠHello", "Ġmy"}));
  EXPECT_EQ(prefix.at, (Spans{{0, 5}, {5, 8}}));
  EXPECT_EQ(cut(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "a b").words, (Words{"aĠb"}));
  EXPECT_EQ(cut(R"({"type":"ByteLevel","add_prefix_space":false})", "Hello there       dear").words,
            (Words{"Hello", "Ġthere", "ĠĠĠĠĠĠ", "Ġdear"}));
  const Cut wide = cut(R"({"type":"ByteLevel","add_prefix_space":false})", "i⭢j");
  EXPECT_EQ(wide.words, (Words{"i", "âŃ¢", "j"}));
  EXPECT_EQ(wide.at, (Spans{{0, 1}, {1, 4}, {4, 5}}));
  for (int b = 0; b < 256; ++b) EXPECT_EQ(char_to_byte(byte_to_char(static_cast<unsigned char>(b))), b);
  EXPECT_EQ(byte_to_char(' '), U'Ġ');
  EXPECT_EQ(char_to_byte(U'漢'), -1);
}

TEST(PreTokenizers, Metaspace) {
  const Cut words = cut(R"({"type":"Metaspace","replacement":"▁","add_prefix_space":true})", "Hey   friend!");
  EXPECT_EQ(words.words, (Words{"▁Hey", "▁", "▁", "▁friend!"}));
  EXPECT_EQ(words.at, (Spans{{0, 3}, {3, 4}, {4, 5}, {5, 13}}));
  EXPECT_EQ(cut(R"({"type":"Metaspace","prepend_scheme":"never"})", "Hey friend").words, (Words{"Hey", "▁friend"}));
  EXPECT_EQ(cut(R"({"type":"Metaspace","split":false})", "Hey friend").words, (Words{"▁Hey▁friend"}));
  // "first": only what begins the text, not what follows an added token.
  PreTokenized text;
  const std::string s = "Hey my<s>how are";
  const AlignedText all(s, 0);
  text.append(all, 0, 6, -1);
  text.append(all, 6, 9, 5);
  text.append(all, 9, s.size(), -1);
  const auto first = make_pre_tokenizer(Json::parse(R"({"type":"Metaspace","prepend_scheme":"first"})"), "t");
  first->apply(text, Budget(s.size()));
  Words got;
  for (const Split& split : text.splits) got.emplace_back(text.view(split));
  EXPECT_EQ(got, (Words{"▁Hey", "▁my", "<s>", "how", "▁are"}));
}

Words found(const std::string& pattern, const std::string& text) {
  std::vector<Match> matches;
  Pattern::regex(pattern, "t").find_all(text, Budget(text.size()), matches);
  Words out;
  for (const Match& m : matches) out.push_back(text.substr(m.begin, m.end - m.begin));
  return out;
}

TEST(Patterns, MeanWhatTheyMeanInRuby) {
  EXPECT_EQ(found(R"((?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})", "It'S 12345 it"),
            (Words{"It", "'S", "123", "45", " it"}));
  EXPECT_EQ(found(R"( ?[^(\s|[.,!?…。,、।۔،])]+)", "Hello, big|world (x)"), (Words{"Hello", " big", "world", "x"}));
  EXPECT_EQ(found("^a", "ab\nab"), (Words{"a", "a"}));              // ^ at every line
  EXPECT_EQ(found("b$", "ab\nab"), (Words{"b", "b"}));
  EXPECT_EQ(found("a.b", "a\nb"), (Words{}));
  EXPECT_EQ(found("(?m:a.b)", "a\nb"), (Words{"a\nb"}));            // m lets the dot match a line break
  EXPECT_EQ(found(R"(\d{2}+3)", "12343"), (Words{"12343"}));        // {2}+ repeats, it does not possess
  EXPECT_EQ(found(R"((?:\d)++3)", "12343"), (Words{}));             // ++ possesses
  EXPECT_EQ(found("(ab){,2}c", "ababc"), (Words{"ababc"}));
  EXPECT_EQ(found(R"(\h+)", "xyz0aFg"), (Words{"0aF"}));
  EXPECT_EQ(found(R"(\s)", "a\u180Eb\u00A0c\u2003d\u0085"), (Words{"\u00A0", "\u2003", "\u0085"}));
  EXPECT_EQ(found(R"(\w+)", "ab_e\u0301 1-٣"), (Words{"ab_e\u0301", "1", "٣"}));
  EXPECT_EQ(found(R"(\p{Han}+)", "漢、字"), (Words{"漢", "字"}));   // script, not script extensions
  EXPECT_EQ(found(R"([\p{^L}]+)", "a1b"), (Words{"1"}));
  EXPECT_EQ(found(R"(\u00e9|\v)", "é\n\v"), (Words{"é", "\v"}));
  EXPECT_EQ(found("[a[b-]c]+", "x-abc-y"), (Words{"-abc-"}));
  EXPECT_EQ(found("", "ab"), (Words{"", "", ""}));
  EXPECT_EQ(found("(?=1)|2", "01231"), (Words{"", "2", ""}));   // none right behind a match
  EXPECT_EQ(found("(?=1)|2", "0121"), (Words{"", "2"}));
  EXPECT_EQ(found("é*", "éé😀é"), (Words{"éé", "é"}));
  const std::string far = std::string(100000, 'x') + "é1" + std::string(50000, 'y') + "2";
  EXPECT_EQ(found(R"((?<=é)\d|\d$)", far), (Words{"1", "2"}));      // found beyond many windows
}

TEST(Patterns, WhatHasNoCounterpartIsRefused) {
  for (const char* p :
       {"[a&&b]", "(*FAIL)", "(?R)", "[a[^b]]", "(?~ab)", "\\g<1>", "(?C1)", "[\\W]", "\\K", "(?P>x)"}) {
    try {
      Pattern::regex(p, "file: field");
      ADD_FAILURE() << p;
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kUnsupported) << p;
      EXPECT_EQ(e.status().where(), "file: field");
    }
  }
  for (const char* p : {"((((", "[a", "a)", "\\", "\\p{Nonsense}", "\\pL", "(?", "(?#x", "*a", "a{5,2}", "(?<=a*)b"}) {
    try {
      Pattern::regex(p, "file: field");
      ADD_FAILURE() << p;
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kBadInput) << p;
    }
  }
  EXPECT_THROW(Pattern::regex(std::string(100000, 'a'), "t"), Error);
}

Words decoded(const char* spec, Words pieces) {
  make_decoder(Json::parse(spec), "t")->apply(pieces, Budget(100));
  return pieces;
}

TEST(Decoders, Pieces) {
  const char* bytes = R"({"type":"ByteFallback"})";
  EXPECT_EQ(decoded(bytes, {"Hey", "friend!"}), (Words{"Hey", "friend!"}));
  EXPECT_EQ(decoded(bytes, {"<0xE5>", "<0x8f>"}), (Words{"\uFFFD", "\uFFFD"}));
  EXPECT_EQ(decoded(bytes, {"<0xE5>", "<0x8f>", "<0xab>", "a"}), (Words{"叫", "a"}));
  EXPECT_EQ(decoded(bytes, {"<0xE5>", "a", "<0xG0>"}), (Words{"\uFFFD", "a", "<0xG0>"}));
  EXPECT_EQ(decoded(R"({"type":"Strip","content":"H","start":1,"stop":0})", {"Hey", " friend!", "HHH"}),
            (Words{"ey", " friend!", "HH"}));
  EXPECT_EQ(decoded(R"({"type":"Strip","content":"y","start":0,"stop":1})", {"Hey", " friend!"}),
            (Words{"He", " friend!"}));
  EXPECT_EQ(decoded(R"({"type":"Metaspace"})", {"▁Hey", "▁friend!"}), (Words{"Hey", " friend!"}));
  EXPECT_EQ(decoded(R"({"type":"Metaspace","prepend_scheme":"never"})", {"▁Hey"}), (Words{" Hey"}));
  EXPECT_EQ(decoded(R"({"type":"Replace","pattern":{"String":"_"},"content":" "})", {"hello", "_hello"}),
            (Words{"hello", " hello"}));
  EXPECT_EQ(decoded(R"({"type":"Fuse"})", {"a", "b"}), (Words{"ab"}));
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"Hello", "Ġmy", "âŃ", "¢", "漢"}), (Words{"Hello my⭢漢"}));
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"âŃ", "x"}), (Words{"\uFFFDx"}));   // one for the part that is cut
}

TEST(UnicodeText, LossyReplacesMaximalParts) {
  EXPECT_EQ(utf8_lossy("a\xF0\x9F\x98z"), "a\uFFFDz");
  EXPECT_EQ(utf8_lossy("\xC0\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(utf8_lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_lossy("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_lossy("é😀"), "é😀");
}

}  // namespace
}  // namespace microtome::tok
