#include "core/base/rng.h"
#include "core/store/artifact_codec.h"
#include "core/store/value_codec.h"
#include "store_fixture.h"

namespace microtome {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

bool same_number(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

bool same_numbers(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_number);
}

bool same_cell(const Cell& a, const Cell& b) {
  if (a.index() != b.index()) return false;
  if (const auto* d = std::get_if<double>(&a)) return same_number(*d, std::get<double>(b));
  return a == b;
}

double any_double(Rng& rng) {
  switch (rng.below(6)) {
    case 0: return kNaN;
    case 1: return rng.below(2) ? kInf : -kInf;
    case 2: return -0.0;
    case 3: return static_cast<double>(rng.below(10));      // whole, and still a double when it comes back
    case 4: return std::bit_cast<double>(rng.next());
    default: return rng.normal();
  }
}

std::string any_text(Rng& rng) {
  static const std::vector<std::string> kParts = {
      "a", "\"", "\\", "\n", "é", "日本", "\xff", "\xc3", std::string(1, '\0'),
      "{\"__float__\":\"NaN\"}", "</script>", "\x1b"};
  std::string out;
  for (uint64_t n = rng.below(6); n > 0; --n) out += rng.pick(kParts);
  return out;
}

TEST_F(StoreTest, AllKindsOfArtifactComeBackAsTheyWere) {
  Rng rng(5);
  Table table{"cells", "A table", {{"a", "nats", "help"}, {"b", "", ""}, {"c", "", ""}, {"d", "", ""}}, {}};
  for (int i = 0; i < 500; ++i) {
    table.rows.push_back({Cell{}, Cell{static_cast<int64_t>(rng.next())}, Cell{any_double(rng)}, Cell{any_text(rng)}});
  }
  table.rows.push_back({Cell{std::numeric_limits<int64_t>::min()}, Cell{std::numeric_limits<int64_t>::max()},
                        Cell{std::numeric_limits<double>::denorm_min()}, Cell{std::string()}});
  TensorMap map{"maps", "Arrays",
                {array_of<float>("small", {2, 1}, {NAN, 1}), big_array("big", 5),
                 array_of<int64_t>("ids", {2}, {-1, 1}), array_of<double>("empty", {0, 3}, {})},
                {{"pos", {"The", " cat", "\xe2\x82"}}, {"layer", {}}},
                {{"small", "diverging"}, {"big", "pattern"}}};
  Series series{"curve", "A curve", "step", "loss", {{"line 1", {}, {}}, {"line 2", {}, {}}}};
  for (int i = 0; i < 300; ++i) {
    series.lines[0].x.push_back(i);
    series.lines[0].y.push_back(any_double(rng));
  }
  Text text{"note", "A text", "# Title\n\n" + std::string("raw \0 byte", 10)};
  Circuit circuit{"ioi", "A circuit", 12, 12, 768, true,
                  {{"input", true, kNaN}, {"a0.h1", false, -0.5}},
                  {{"input", "a0.h1<q>", true, 0.25}, {"a0.h1", "logits", false, -kInf}},
                  {{any_text(rng), {"a0.h1", any_text(rng)}}, {"empty", {}}}};
  AnalysisResult result;
  result.summary = {{"effect", 0.5, "logits", "the mean", 0.25, 0.75, 30}, {"odd", kInf, "", "", kNaN, kNaN, 0}};
  result.findings = {"Head 1.2 matters.", any_text(rng)};
  result.warnings = {"few prompts"};
  result.artifacts = {table, map, series, text, circuit, Table{"none", "", {}, {}}};

  int64_t run;
  {
    auto store = open();
    run = new_run(*store);
    Status s = store->finish_run(run, result);
    ASSERT_TRUE(s.is_ok()) << s.text();
  }
  EXPECT_EQ(tensor_files().size(), 1u) << "only the large array is a file";
  auto store = open(ResultStore::Mode::kReadOnly);
  auto loaded = store->result(run);
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().text();
  const AnalysisResult& back = *loaded;

  ASSERT_EQ(back.summary.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back.summary[i].name, result.summary[i].name);
    EXPECT_TRUE(same_number(back.summary[i].value, result.summary[i].value));
    EXPECT_TRUE(same_number(back.summary[i].low, result.summary[i].low));
    EXPECT_TRUE(same_number(back.summary[i].high, result.summary[i].high));
    EXPECT_EQ(back.summary[i].unit, result.summary[i].unit);
    EXPECT_EQ(back.summary[i].help, result.summary[i].help);
    EXPECT_EQ(back.summary[i].n, result.summary[i].n);
  }
  EXPECT_EQ(back.findings, result.findings);
  EXPECT_EQ(back.warnings, result.warnings);
  ASSERT_EQ(back.artifacts.size(), result.artifacts.size());

  const Table& t = std::get<Table>(back.artifacts[0]);
  EXPECT_EQ(t.name, table.name);
  EXPECT_EQ(t.title, table.title);
  ASSERT_EQ(t.columns.size(), 4u);
  EXPECT_EQ(t.columns[0].unit, "nats");
  EXPECT_EQ(t.columns[0].help, "help");
  ASSERT_EQ(t.rows.size(), table.rows.size());
  for (size_t r = 0; r < t.rows.size(); ++r) {
    for (size_t c = 0; c < 4; ++c) EXPECT_TRUE(same_cell(t.rows[r][c], table.rows[r][c])) << r << " " << c;
  }
  const TensorMap& m = std::get<TensorMap>(back.artifacts[1]);
  EXPECT_EQ(m.name, map.name);
  EXPECT_EQ(m.title, map.title);
  EXPECT_EQ(m.axis_labels, map.axis_labels);
  EXPECT_EQ(m.looks, map.looks);
  EXPECT_TRUE(same_bits(m.arrays, map.arrays));
  const Series& s = std::get<Series>(back.artifacts[2]);
  EXPECT_EQ(s.x_label, "step");
  EXPECT_EQ(s.y_label, "loss");
  ASSERT_EQ(s.lines.size(), 2u);
  EXPECT_EQ(s.lines[1].name, "line 2");
  EXPECT_TRUE(same_numbers(s.lines[0].x, series.lines[0].x));
  EXPECT_TRUE(same_numbers(s.lines[0].y, series.lines[0].y));
  EXPECT_EQ(std::get<Text>(back.artifacts[3]).markdown, text.markdown);
  const Circuit& c = std::get<Circuit>(back.artifacts[4]);
  EXPECT_EQ(c.n_layers, 12);
  EXPECT_EQ(c.n_heads, 12);
  EXPECT_EQ(c.d_model, 768);
  EXPECT_TRUE(c.parallel_attn_mlp);
  ASSERT_EQ(c.nodes.size(), 2u);
  EXPECT_TRUE(std::isnan(c.nodes[0].score));
  EXPECT_FALSE(c.nodes[1].in_graph);
  EXPECT_EQ(c.nodes[1].score, -0.5);
  ASSERT_EQ(c.groups.size(), 2u);
  EXPECT_EQ(c.groups[0].name, circuit.groups[0].name);
  EXPECT_EQ(c.groups[0].nodes, circuit.groups[0].nodes);
  EXPECT_EQ(c.groups[1].name, "empty");
  ASSERT_EQ(c.edges.size(), 2u);
  EXPECT_EQ(c.edges[0].to, "a0.h1<q>");
  EXPECT_EQ(c.edges[1].score, -kInf);
  EXPECT_FALSE(c.edges[1].in_graph);
  EXPECT_TRUE(std::get<Table>(back.artifacts[5]).rows.empty());
}

TEST(ValueCodec, NumbersAndTextsSurviveTheirText) {
  Rng rng(17);
  for (int i = 0; i < 3000; ++i) {
    double d = any_double(rng);
    ASSERT_TRUE(same_number(decode_number(parse_stored(encode_number(d).dump(), "t"), "f", "t"), d)) << d;
    std::string s = any_text(rng);
    ASSERT_EQ(decode_text(parse_stored(encode_text(s).dump(), "t"), "f", "t"), s);
  }
}

// What a damaged or hostile project may hold where an artifact is expected.
TEST(ArtifactCodec, DamagedTextIsAnErrorThatNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"table", ""},
      {"table", "null"},
      {"table", "[]"},
      {"table", "{\"name\":1,\"title\":\"\",\"columns\":[],\"rows\":[]}"},
      {"table", "{\"name\":\"\",\"title\":\"\",\"columns\":[[\"a\",\"\",\"\"]],\"rows\":[[1,2]]}"},
      {"table", "{\"name\":\"\",\"title\":\"\",\"columns\":[[\"a\"]],\"rows\":[]}"},
      {"table", "{\"name\":\"\",\"title\":\"\",\"columns\":[[\"a\",\"\",\"\"]],\"rows\":[[true]]}"},
      {"table", "{\"name\":\"\",\"title\":\"\",\"columns\":[[\"a\",\"\",\"\"]],\"rows\":[[18446744073709551615]]}"},
      {"table", "{\"name\":{\"__bytes__\":\"abc\"},\"title\":\"\",\"columns\":[],\"rows\":[]}"},
      {"table", "{\"name\":{\"__bytes__\":\"zz\"},\"title\":\"\",\"columns\":[],\"rows\":[]}"},
      {"series", "{\"name\":\"\",\"title\":\"\",\"x_label\":\"\",\"y_label\":\"\",\"lines\":[1]}"},
      {"series", "{\"name\":\"\",\"title\":\"\",\"x_label\":\"\",\"y_label\":\"\",\"lines\":[{\"name\":\"\","
                 "\"x\":[{\"__float__\":\"nan\"}],\"y\":[]}]}"},
      {"text", "{\"name\":\"\"}"},
      {"circuit", "{\"name\":\"\",\"title\":\"\",\"n_layers\":1.5}"},
      {"circuit", "{\"name\":\"\",\"title\":\"\",\"n_layers\":1,\"n_heads\":1,\"d_model\":8,\"parallel_attn_mlp\":false,"
                  "\"nodes\":[],\"edges\":[],\"groups\":[[\"g\"]]}"},
      {"tensors", "{\"name\":\"\",\"title\":\"\",\"axis_labels\":[[\"a\"]],\"looks\":[]}"},
      {"picture", "{}"},
      {"table", std::string(5000, '[')},
  };
  for (const auto& [kind, body] : bad) {
    try {
      decode_artifact(kind, body, {}, "the place");
      ADD_FAILURE() << kind << " " << body.substr(0, 80);
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kBadInput);
      EXPECT_NE(e.status().where().find("the place"), std::string::npos) << e.what();
    }
  }
}

// Projects written before circuits had groups.
TEST(ArtifactCodec, ACircuitWithoutGroupsHasNone) {
  Circuit circuit{"c", "t", 1, 1, 8, false, {{"input", true, kNaN}}, {{"input", "logits", true, 0.5}}, {}};
  const std::string body = encode_artifact(circuit, "t");
  EXPECT_EQ(body.find("groups"), std::string::npos);
  const Artifact back = decode_artifact("circuit", body, {}, "t");
  EXPECT_TRUE(std::get<Circuit>(back).groups.empty());
  EXPECT_EQ(std::get<Circuit>(back).edges.size(), 1u);
}

// Every artifact text with one byte changed decodes or is refused; it never does anything else.
TEST(ArtifactCodec, AnyChangedByteIsDecodedOrRefused) {
  Rng rng(3);
  Circuit circuit{"c", "t", 1, 1, 8, false, {{"input", true, kNaN}}, {{"input", "logits", true, 0.5}}, {{"g", {"input"}}}};
  Table table{"t", "", {{"a", "", ""}, {"b", "", ""}}, {{Cell{int64_t{1}}, Cell{"\xff"}}, {Cell{kInf}, Cell{}}}};
  int refused = 0, decoded = 0;
  for (const Artifact& a : {Artifact(circuit), Artifact(table)}) {
    std::string body = encode_artifact(a, "t");
    for (int i = 0; i < 3000; ++i) {
      std::string changed = body;
      changed[rng.below(changed.size())] = static_cast<char>(rng.below(256));
      try {
        decode_artifact(artifact_kind(a), changed, {}, "t");
        ++decoded;
      } catch (const Error& e) {
        EXPECT_EQ(e.status().code(), StatusCode::kBadInput) << e.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(decoded, 100);
}

TEST(SpecCodec, ASpecComesBackWhole) {
  RunSpec s = sample_spec(18446744073709551615u);
  s.tf32 = true;
  s.plugin_hash = "p\xff";
  s.interventions = "[{\"hook\":\"x\"}]";
  RunSpec back = decode_spec(encode_spec(s, "t"), "t");
  EXPECT_EQ(encode_spec(back, "t"), encode_spec(s, "t"));
  EXPECT_EQ(back.seed, s.seed);
  EXPECT_EQ(back.tf32, true);
  EXPECT_EQ(back.plugin_hash, s.plugin_hash);
  EXPECT_THROW(decode_spec("{\"analysis\":\"x\"}", "t"), Error);
  std::string negative = encode_spec(sample_spec(5), "t");
  negative.replace(negative.find("\"seed\":5"), 8, "\"seed\":1.5");
  EXPECT_THROW(decode_spec(negative, "t"), Error);
}

}  // namespace
}  // namespace microtome
