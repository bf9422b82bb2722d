#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <string>

#include "core/base/json.h"
#include "core/base/quote.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

using testing::TempFolder;

Json parsed(const std::string& text, const JsonLimits& limits = {}) {
  return parse_json(text, "t.json", limits).value();
}

void expect_refused(const std::string& text, const std::string& part, const JsonLimits& limits = {}) {
  const Result<Json> r = parse_json(text, "t.json", limits);
  ASSERT_FALSE(r.is_ok()) << in_quotes(text);
  EXPECT_EQ(r.status().code(), StatusCode::kBadInput);
  EXPECT_EQ(r.status().where(), "t.json");
  EXPECT_NE(r.status().what().find(part), std::string::npos) << in_quotes(text) << " gave: " << r.status().text();
}

TEST(Json, AgreesWithNlohmannOnWellFormedText) {
  for (const char* text :
       {"null", "true", " false ", "0", "-0", "-1", "18446744073709551615", "-9223372036854775808", "1.5", "1e3",
        "2E-2",
        "123456789012345678901234567890", "\"\"", R"("a\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00")",
        "\"é€😀\"", "[]", "{}", "[[],{}]", R"({"b":1,"a":[1,2,{"c":null}],"":{}})", "[1 , 2\n,\t3\r]",
        "0.1", "2.2250738585072014e-308", "1.7976931348623157e308", "5e-324", R"({"z":[[[[1]]]],"y":"x"})"}) {
    const Json ours = parsed(text), theirs = Json::parse(text);
    EXPECT_EQ(ours, theirs) << text;
    EXPECT_EQ(ours.type(), theirs.type()) << text;
    EXPECT_EQ(ours.dump(), theirs.dump()) << text;      // order of keys too
  }
}

TEST(Json, RefusesWhatNlohmannRefuses) {
  for (const char* text :
       {"", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
        "{1:1}", "{\"a\":1 \"b\":2}", "01", "-", "+1", ".5", "1.", "1.e3", "1e", "1e+", "--1", "0x10", "1_0", "tru",
        "nul", "True", "'a'", "\"a", "\"\\\"", "\"\\x41\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800x\"",
        "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"", "\"\t\"", "1 2", "{} {}", "[1]x", "// c\n1", "1e999", "-1e999",
        "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "{\"\xff\":1}"}) {
    EXPECT_FALSE(parse_json(text, "t.json").is_ok()) << in_quotes(text);
    EXPECT_FALSE(Json::accept(text)) << in_quotes(text) << ": the list above is wrong";
  }
}

TEST(Json, UnderflowIsZero) {
  EXPECT_EQ(parsed("1e-400").get<double>(), 0.0);
  EXPECT_TRUE(std::signbit(parsed("-0.0").get<double>()));
}

TEST(Json, DuplicateKeysAreRefused) {
  expect_refused(R"({"a":1,"b":2,"a":3})", "'a' occurs twice");
  expect_refused(R"([{"x":{"k":1,"\u006b":2}}])", "'k' occurs twice");
  EXPECT_EQ(parsed(R"([{"a":1},{"a":1}])").size(), 2u);
}

TEST(Json, NanIsRefusedAndInfinityOnlyOnRequest) {
  const JsonLimits infinite{.allow_infinity = true};
  for (const auto& limits : {JsonLimits{}, infinite}) {
    expect_refused("{\"eps\": NaN}", "NaN", limits);
    expect_refused("-NaN", "NaN", limits);
  }
  expect_refused("[Infinity]", "Infinity");
  expect_refused("-Infinity", "Infinity");
  EXPECT_EQ(parsed("[Infinity, -Infinity]", infinite)[0].get<double>(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(parsed("[Infinity, -Infinity]", infinite)[1].get<double>(), -std::numeric_limits<double>::infinity());
  expect_refused("[Infinityx]", "expected", infinite);
  expect_refused("1e999", "too large", infinite);
}

TEST(Json, DepthIsBoundedWithoutRecursion) {
  auto nested = [](size_t n, bool closed) { return std::string(n, '[') + (closed ? std::string(n, ']') : ""); };
  expect_refused(nested(100000, true), "deeper than 64");
  expect_refused(nested(50'000'000, false), "deeper than 64");
  EXPECT_TRUE(parse_json(nested(64, true), "t").is_ok());
  EXPECT_FALSE(parse_json(nested(65, true), "t").is_ok());
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  expect_refused(objects, "deeper than 64");
  EXPECT_TRUE(parse_json("1", "t", {.max_depth = 0}).is_ok());
  EXPECT_FALSE(parse_json("[]", "t", {.max_depth = 0}).is_ok());
}

TEST(Json, SizeIsBounded) {
  expect_refused("[1,2,3]", "more than the 5", {.max_bytes = 5});
  expect_refused("[1,2,3]", "more than 3 values", {.max_values = 3});
  EXPECT_TRUE(parse_json("[1,2,3]", "t", {.max_bytes = 7, .max_values = 4}).is_ok());
}

TEST(Json, ErrorsNameTheByte) {
  expect_refused("{\"a\": tru}", "at byte 6");
  expect_refused("\xEF\xBB\xBF{}", "byte-order mark");
}

// The ordered map of the value type searches all keys before each insertion; a vocabulary must not cost its square.
TEST(Json, ALargeObjectIsReadInLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i) text += (i ? ",\"key" : "\"key") + std::to_string(i) + "\":" + std::to_string(i);
  text += "}";
  const auto start = std::chrono::steady_clock::now();
  const Json j = parsed(text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(j.size(), 300000u);
  EXPECT_EQ(j.begin().key(), "key0");
}

TEST(JsonAccess, ReadsAndNamesFields) {
  const Json j = parsed(R"({"i":3,"neg":-4,"f":1.5,"b":true,"s":"x","n":null,"big":18446744073709551615,
                            "inf":{"__float__":"Infinity"},"ninf":{"__float__":"-Infinity"},
                            "nan":{"__float__":"NaN"}})");
  EXPECT_EQ(json_int(j, "i", "w"), 3);
  EXPECT_EQ(json_int(j, "neg", "w"), -4);
  EXPECT_EQ(json_int(j, "absent", 7, "w"), 7);
  EXPECT_EQ(json_int(j, "n", 8, "w"), 8);
  EXPECT_EQ(json_float(j, "i", "w"), 3.0);
  EXPECT_EQ(json_float(j, "f", 0.0, "w"), 1.5);
  EXPECT_EQ(json_float(j, "inf", "w"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(json_float(j, "ninf", 0.0, "w"), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(json_bool(j, "b", false, "w"));
  EXPECT_TRUE(json_bool(j, "absent", true, "w"));
  EXPECT_EQ(json_string(j, "s", "w"), "x");
  EXPECT_EQ(json_string(j, "n", "d", "w"), "d");
  auto refused = [&](auto&& f, const std::string& text) {
    try {
      f();
      ADD_FAILURE() << "expected: " << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kBadInput);
      EXPECT_EQ(e.status().text(), text + " (cfg.json)");
    }
  };
  refused([&] { json_int(j, "absent", "cfg.json"); }, "field 'absent' is missing");
  refused([&] { json_int(j, "n", "cfg.json"); }, "field 'n' is missing");
  refused([&] { json_int(j, "s", 1, "cfg.json"); }, "field 's' is the text 'x', expected an integer");
  refused([&] { json_int(j, "f", "cfg.json"); }, "field 'f' is 1.5, expected an integer");
  refused([&] { json_int(j, "big", "cfg.json"); }, "field 'big' is 18446744073709551615, expected an integer");
  refused([&] { json_int(j, "b", "cfg.json"); }, "field 'b' is true, expected an integer");
  refused([&] { json_float(j, "nan", "cfg.json"); }, "field 'nan' is NaN, expected a number");
  refused([&] { json_float(j, "s", "cfg.json"); }, "field 's' is the text 'x', expected a number");
  refused([&] { json_bool(j, "i", true, "cfg.json"); }, "field 'i' is 3, expected true or false");
  refused([&] { json_string(j, "i", "cfg.json"); }, "field 'i' is 3, expected a text");
  refused([&] { json_int(Json::array(), "i", "cfg.json"); }, "expected an object with the field 'i'");
}

TEST(JsonFile, ReadsRegularFilesWithinTheLimit) {
  const TempFolder folder;
  const std::string path = folder.put("a.json", "{\"a\": [1]}");
  EXPECT_EQ(read_json_file(path).value()["a"][0], 1);
  const Result<Json> large = read_json_file(path, {.max_bytes = 4});
  ASSERT_FALSE(large.is_ok());
  EXPECT_NE(large.status().text().find("a.json"), std::string::npos);
  EXPECT_EQ(read_json_file(folder / "none.json").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(read_text_file(folder.str()).status().code(), StatusCode::kBadInput);
  EXPECT_EQ(read_text_file("/dev/zero").status().code(), StatusCode::kBadInput);
  EXPECT_EQ(read_text_file(folder.put("empty", "")).value(), "");
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(read_text_file(fifo).status().code(), StatusCode::kBadInput);      // and does not wait for a writer
}

TEST(JsonFile, AHugeSparseFileIsRefusedBeforeItIsRead) {
  const TempFolder folder;
  const std::string path = folder.put("big.json", "{");
  std::filesystem::resize_file(path, uintmax_t{1} << 40);
  EXPECT_EQ(read_json_file(path).status().code(), StatusCode::kBadInput);
}

TEST(InQuotes, MakesHostileTextHarmless) {
  EXPECT_EQ(in_quotes("plain é"), "'plain é'");
  EXPECT_EQ(in_quotes("a\x1b[31m\n"), "'a\\x1b[31m\\x0a'");
  EXPECT_EQ(in_quotes("\xff\xc2\x9b"), "'\\xff\\xc2\\x9b'");
  EXPECT_LT(in_quotes(std::string(1000, 'x')).size(), 140u);
}

}  // namespace
}  // namespace microtome
