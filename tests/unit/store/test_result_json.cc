#include "core/store/result_json.h"

#include <charconv>

#include "core/base/rng.h"
#include "store_fixture.h"

namespace microtome {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

RunRecord sample_record() {
  RunRecord r;
  r.spec = sample_spec();
  r.spec.answer_params = {{"steps", "5"}, {"tau", "0.25"},  {"fast", "true"}, {"site", "z"},
                          {"exp", "1e5"}, {"padded", "05"}, {"word", "inf"}};
  r.spec.interventions = "[{\"hook\":\"hook_embed\",\"operation\":\"scale\"}]";
  RunKey key = make_run_key(r.spec);
  r.key_hash = key.hash;
  r.key_text = key.text;
  r.analysis = r.spec.analysis;
  r.title = "Patching";
  r.command = r.spec.command;
  r.created = "2025-01-02T03:04:05Z";
  r.items_total = 4;
  return r;
}

TEST(ResultJson, HoldsWhatScriptsRead) {
  AnalysisResult result;
  result.summary = {{"effect", 0.5, "logits", "mean", kNaN, 0.75, 30}};
  result.findings = {"bad utf-8: \xff"};
  result.warnings = {"w"};
  NamedArray big = array_of<float>("effect", {2, 3}, {1, 2, 3, 4, 5, NAN});
  big.axes = {"layer", "pos"};
  result.artifacts = {Table{"t", "T", {{"a", "nats", "h"}, {"b", "", ""}},
                            {{Cell{int64_t{1}}, Cell{kNaN}}, {Cell{}, Cell{"x"}}}},
                      TensorMap{"maps", "", {big}, {}, {}},
                      Series{"s", "", "x", "y", {{"l", {0, 1}, {INFINITY, 2.5}}}},
                      Text{"n", "", "# md"},
                      Circuit{"c", "", 1, 2, 8, false, {{"input", true, kNaN}}, {{"input", "logits", true, 0.5}}, {{"g", {"input"}}}}};
  std::string text = result_to_json(sample_record(), result).dump();
  auto parsed = parse_json(text, "result.json");
  ASSERT_TRUE(parsed.is_ok()) << parsed.status().text();
  const Json& j = *parsed;
  EXPECT_EQ(j["analysis"], "activation_patching");
  EXPECT_EQ(j["summary"][0]["value"], 0.5);
  EXPECT_TRUE(j["summary"][0]["low"].is_null());
  EXPECT_EQ(j["summary"][0]["n"], 30);
  EXPECT_EQ(j["findings"][0], "bad utf-8: \xEF\xBF\xBD");
  EXPECT_EQ(j["warnings"][0], "w");
  EXPECT_EQ(j["tables"][0]["columns"][0]["unit"], "nats");
  EXPECT_EQ(j["tables"][0]["rows"], Json::parse("[[1,null],[null,\"x\"]]"));
  EXPECT_EQ(j["tensors"][0]["name"], "effect");
  EXPECT_EQ(j["tensors"][0]["axes"], Json::parse("[\"layer\",\"pos\"]"));
  EXPECT_EQ(j["tensors"][0]["shape"], Json::parse("[2,3]"));
  EXPECT_EQ(j["tensors"][0]["dtype"], "float32");
  EXPECT_FALSE(j["tensors"][0].contains("data"));
  EXPECT_EQ(j["series"][0]["lines"][0]["y"], Json::parse("[null,2.5]"));
  EXPECT_EQ(j["texts"][0]["markdown"], "# md");
  EXPECT_EQ(j["circuits"][0]["edges"][0]["to"], "logits");
  EXPECT_TRUE(j["circuits"][0]["nodes"][0]["score"].is_null());
  EXPECT_EQ(j["circuits"][0]["groups"], Json::parse("[{\"name\":\"g\",\"nodes\":[\"input\"]}]"));
  const Json& p = j["parameters"];
  EXPECT_TRUE(p["steps"].is_number_integer());
  EXPECT_EQ(p["steps"], 5);
  EXPECT_EQ(p["tau"], 0.25);
  EXPECT_EQ(p["fast"], true);
  EXPECT_EQ(p["site"], "z");
  EXPECT_EQ(p["padded"], "05") << "not how a number is spelled here, so not one";
  EXPECT_EQ(p["word"], "inf");
  EXPECT_EQ(p["batch"], 16);
  EXPECT_EQ(j["provenance"]["model"]["weights_hash"], std::string(64, 'a'));
  EXPECT_EQ(j["provenance"]["seed"], 7);
  EXPECT_EQ(j["provenance"]["interventions"][0]["hook"], "hook_embed");
  EXPECT_EQ(j["provenance"]["key_fields"]["param.steps"], "5");
  EXPECT_EQ(j["key"], sample_record().key_hash);
}

TEST(ResultJson, AnEmptyResultHasAllItsLists) {
  Json j = result_to_json(sample_record(), {});
  for (const char* k : {"summary", "findings", "warnings", "tables", "series", "texts", "circuits", "tensors"}) {
    ASSERT_TRUE(j[k].is_array()) << k;
    EXPECT_TRUE(j[k].empty()) << k;
  }
}

TEST(Csv, TablesFollowTheRules) {
  Table t{"t", "", {{"name", "", ""}, {"a,b", "", ""}, {"q\"x", "", ""}}, {}};
  t.rows = {{Cell{"plain"}, Cell{int64_t{-3}}, Cell{0.1}},
            {Cell{"with, comma"}, Cell{kNaN}, Cell{-INFINITY}},
            {Cell{"two\nlines"}, Cell{}, Cell{""}},
            {Cell{" the"}, Cell{"say \"hi\""}, Cell{3.0}}};
  EXPECT_EQ(table_to_csv(t),
            "name,\"a,b\",\"q\"\"x\"\nplain,-3,0.1\n\"with, comma\",nan,-inf\n\"two\nlines\",,\"\"\n"
            "\" the\",\"say \"\"hi\"\"\",3\n");
}

TEST(Csv, ArraysAreInLongForm) {
  NamedArray a = array_of<float>("effect", {2, 2}, {0.1f, NAN, -2, 1e30f});
  a.axes = {"layer", "pos"};
  EXPECT_EQ(arrays_to_csv(a), "layer,pos,value\n0,0,0.1\n0,1,nan\n1,0,-2\n1,1,1e+30\n");
  EXPECT_EQ(arrays_to_csv(array_of<int64_t>("n", {}, {42})), "value\n42\n");
  EXPECT_EQ(arrays_to_csv(array_of<double>("none", {0, 5}, {})), "axis0,axis1,value\n");
  EXPECT_THROW(arrays_to_csv(array_of<double>("short", {3}, {1, 2})), Error);
  EXPECT_THROW(arrays_to_csv(array_of<double>("negative", {-1}, {})), Error);
  NamedArray no_axes = array_of<double>("axes", {1}, {1});
  no_axes.axes.clear();
  EXPECT_THROW(arrays_to_csv(no_axes), Error);
}

TEST(Csv, NumbersReadBackTheSame) {
  Rng rng(12);
  for (int i = 0; i < 2000; ++i) {
    double d = std::bit_cast<double>(rng.next());
    float f = std::bit_cast<float>(static_cast<uint32_t>(rng.next()));
    if (!std::isfinite(d) || !std::isfinite(f)) continue;
    std::string text = arrays_to_csv(array_of<double>("d", {}, {d})).substr(6);
    std::string short_text = arrays_to_csv(array_of<float>("f", {}, {f})).substr(6);
    double d2 = 0;
    float f2 = 0;
    std::from_chars(text.data(), text.data() + text.size(), d2);
    std::from_chars(short_text.data(), short_text.data() + short_text.size(), f2);
    ASSERT_EQ(d, d2);
    ASSERT_EQ(f, f2);
  }
}

}  // namespace
}  // namespace microtome
