#include "app/report/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>

#include "app/report/array_view.h"
#include "app/report/html.h"
#include "app/report/markdown.h"
#include "app/report/style.h"
#include "tests/unit/report/sample_runs.h"

namespace microtome {
namespace {

using microtome::testing::sample_options;
using microtome::testing::sample_runs;
using microtome::testing::single_run;

size_t occurrences(const std::string& s, const std::string& what) {
  size_t n = 0;
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + what.size())) ++n;
  return n;
}

bool has(const std::string& s, const std::string& what) { return s.find(what) != std::string::npos; }

NamedArray matrix(const std::string& name, std::vector<std::string> axes, std::vector<int64_t> shape,
                  std::vector<double> data) {
  return {name, std::move(axes), std::move(shape), std::move(data), "", ""};
}

const std::string kHostile = "</script><script>alert(1)</script><img src=x onerror=\"alert('x')\">";

// A tiny reader of tags: every tag's name must be one the report writes, and quotes must balance.
void expect_only_own_tags(const std::string& html) {
  static const std::set<std::string> known = {
      "!doctype", "html",    "head", "meta",   "title",      "style",   "body",    "svg",    "defs",  "lineargradient",
      "stop",     "pattern", "rect", "path",   "text",       "g",       "circle",  "header", "p",     "h1",
      "h2",       "h3",      "h4",   "h5",     "nav",        "ol",      "ul",      "li",     "a",     "main",
      "section",  "span",    "div",  "table",  "thead",      "tbody",   "tr",      "th",     "td",    "i",
      "b",        "code",    "pre",  "figure", "figcaption", "details", "summary", "footer", "script"};
  size_t body = html.find("</style>");
  ASSERT_NE(body, std::string::npos);
  size_t end = html.rfind("<script>");
  for (size_t at = html.find('<', body); at < end; at = html.find('<', at + 1)) {
    size_t from = html[at + 1] == '/' ? at + 2 : at + 1, to = from;
    while (to < end && (std::isalnum(static_cast<unsigned char>(html[to])) || html[to] == '!')) ++to;
    std::string name = html.substr(from, to - from);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    ASSERT_TRUE(known.count(name)) << "tag '" << name << "' at " << at << ": " << html.substr(at, 80);
    size_t close = html.find('>', at);
    std::string tag = html.substr(at, close - at);
    ASSERT_EQ(occurrences(tag, "\"") % 2, 0u) << tag;
    std::string names;  // the tag without its quoted values
    bool quoted = false;
    for (char c : tag) {
      if (c == '"')
        quoted = !quoted;
      else if (!quoted)
        names += c;
    }
    ASSERT_FALSE(has(names, " on")) << tag;
  }
}

TEST(ReportHtml, SampleHasEverySectionAndStaysSmall) {
  std::string html = render_html(sample_runs(), sample_options());
  if (const char* path = std::getenv("MICROTOME_REPORT_SAMPLE")) std::ofstream(path) << html;
  for (const char* id :
       {"id=\"found\"", "id=\"models\"", "id=\"prompts\"", "id=\"notes\"", "id=\"repeat\"", "attention\"",
        "activation-patching\"", "states\"", "logit-lens\"", "dla\"", "ablation\"", "head-probes\"", "eap\""}) {
    EXPECT_TRUE(has(html, id)) << id;
  }
  EXPECT_LT(html.size(), size_t{5} << 20);
  EXPECT_TRUE(has(html, "How a softmax model and its linear twin"));
  EXPECT_TRUE(has(html, "[3.1, 3.7]"));                           // an interval of the summary
  EXPECT_EQ(occurrences(html, "2 pairs of unequal length"), 1u);  // a warning both models share is said once
  EXPECT_TRUE(has(html, "site = resid_pre"));                     // what tells the runs apart
  EXPECT_TRUE(has(html, "microtome run states --model models/twin-linear"));
  EXPECT_TRUE(has(html, sample_runs()[0].record.key_hash));
  EXPECT_TRUE(has(html, "libtorch 2.11.0"));
  EXPECT_TRUE(has(html, "largest |effect| in Activation patching (site = z)"));
  EXPECT_TRUE(has(html, "class=\"m-s\"") && has(html, "class=\"m-r\""));
  expect_only_own_tags(html);
}

TEST(ReportHtml, EveryLinkOfTheContentsHasItsTarget) {
  std::string html = render_html(sample_runs(), sample_options());
  size_t links = 0;
  for (size_t at = html.find("href=\"#"); at != std::string::npos; at = html.find("href=\"#", at + 1), ++links) {
    std::string id = html.substr(at + 7, html.find('"', at + 7) - at - 7);
    EXPECT_EQ(occurrences(html, "id=\"" + id + "\""), 1u) << id;
  }
  EXPECT_GT(links, 10u);
}

TEST(ReportHtml, LoadsNothingFromElsewhere) {
  std::string html = render_html(sample_runs(), sample_options());
  EXPECT_FALSE(has(html, "http://"));
  EXPECT_FALSE(has(html, "https://"));
  EXPECT_FALSE(has(html, "@import"));
  EXPECT_FALSE(has(html, "src="));
  EXPECT_EQ(occurrences(html, "<script"), 1u);
  EXPECT_TRUE(has(html, "default-src 'none'"));
  EXPECT_TRUE(has(html, "script-src '" + report::script_hash() + "'"));
  EXPECT_EQ(report::script_hash().size(), 7u + 44u);
}

TEST(ReportHtml, SameRunsGiveSameBytes) {
  EXPECT_EQ(render_html(sample_runs(), sample_options()), render_html(sample_runs(), sample_options()));
  EXPECT_EQ(render_markdown(sample_runs(), sample_options()), render_markdown(sample_runs(), sample_options()));
}

TEST(ReportHtml, TwinsShareOneColourScale) {
  ReportRun a = single_run({TensorMap{"m", "", {matrix("x", {"layer", "head"}, {1, 2}, {0.0, 1.0})}, {}, {}}}), b = a;
  b.record.model_name = "other";
  std::get<TensorMap>(b.result.artifacts[0]).arrays[0] = matrix("x", {"layer", "head"}, {1, 2}, {0.0, 0.5});
  std::string html = render_html({a, b}, {});
  // Half of the larger model's maximum is the middle of the ramp, not its end.
  EXPECT_TRUE(has(html, "<rect class=\"s64\""));
  EXPECT_TRUE(has(html, "<rect class=\"s32\""));
  std::get<TensorMap>(b.result.artifacts[0]).arrays[0] = matrix("x", {"layer", "head"}, {1, 2}, {0.0, 0.001});
  EXPECT_TRUE(has(render_html({a, b}, {}), "each has its own colour scale"));
}

TEST(ReportHtml, HostileTextIsInertEverywhere) {
  std::vector<ReportRun> runs = sample_runs();
  for (ReportRun& run : runs) {
    run.record.model_name = run.record.dataset_name = run.record.note = run.record.command = kHostile;
    run.record.analysis += kHostile;
    run.record.spec.answer_params["p" + kHostile] = kHostile;
    run.record.key_hash = run.record.spec.weights_hash = run.record.spec.interventions = run.record.created = kHostile;
    run.context["model"][kHostile] = kHostile;
    run.context["model"]["layers"][0]["mixer"] = kHostile;
    run.context["model"]["layers"][0]["heads"] = kHostile;
    run.context["task"]["title"] = run.context["task"]["description"] = kHostile;
    run.context["analysis"]["title"] = run.context["analysis"]["definition"] = run.context["analysis"]["source"] =
        kHostile;
    run.context["attempt"] = {{"device", kHostile}, {"versions", {{kHostile, kHostile}}}, {"events", {kHostile}}};
    for (Json& p : run.context["prompts"]) {
      p["clean"][2] = p["answer"] = p["wrong"][0] = kHostile;
      p["labels"][kHostile] = kHostile;
      p["positions"][kHostile] = 4;
    }
    run.result.findings.push_back(kHostile);
    run.result.warnings.push_back(kHostile);
    run.result.summary.push_back({kHostile, 1, kHostile, kHostile, 0.5, 1.5, 3});
    for (Artifact& a : run.result.artifacts) {
      if (auto* m = std::get_if<TensorMap>(&a)) {
        m->title = kHostile;
        for (auto& [axis, labels] : m->axis_labels) labels.assign(labels.size(), kHostile);
        for (NamedArray& array : m->arrays) array.unit = array.help = kHostile;
        m->arrays.push_back(matrix(kHostile, {kHostile, kHostile + "2"}, {2, 2}, {1, 2, 3, NAN}));
      }
      if (auto* t = std::get_if<Table>(&a)) {
        t->columns[0] = {kHostile, kHostile, kHostile};
        t->rows[0][0] = kHostile;
      }
      if (auto* s = std::get_if<Series>(&a)) s->title = s->x_label = s->y_label = s->lines[0].name = kHostile;
      if (auto* t = std::get_if<Text>(&a))
        t->markdown = "# " + kHostile + "\n- " + kHostile + "\n**" + kHostile + "** `" + kHostile + "` [" + kHostile +
                      "](javascript:alert(1))";
      if (auto* c = std::get_if<Circuit>(&a)) c->nodes[3].name = c->edges[6].from = c->title = kHostile;
    }
  }
  std::string html = render_html(runs, {kHostile, kHostile, kHostile, kHostile});
  EXPECT_EQ(occurrences(html, "<script"), 1u);
  EXPECT_EQ(occurrences(html, "</script"), 1u);
  EXPECT_FALSE(has(html, "<img"));
  EXPECT_FALSE(has(html, "onerror=\""));
  EXPECT_FALSE(has(html, "href=\"javascript"));
  EXPECT_GT(occurrences(html, "&lt;/script&gt;"), 50u);  // it is there, as text
  expect_only_own_tags(html);
  std::string md = render_markdown(runs, {kHostile, kHostile, "", kHostile});
  for (size_t at = md.find("<script"); at != std::string::npos; at = md.find("<script", at + 1)) {
    // Only inside code, where Markdown shows it as text.
    size_t line = md.rfind('\n', at);
    std::string before = md.substr(line + 1, at - line - 1);
    EXPECT_TRUE(occurrences(before, "`") % 2 == 1 || has(md.substr(line < 8 ? 0 : line - 5, 6), "```")) << before;
  }
}

TEST(ReportHtml, MissingCellsAreHatchedWithTheReason) {
  std::string html = render_html(
      {single_run({TensorMap{"m", "", {matrix("x", {"layer", "pos"}, {2, 2}, {NAN, 1, -1, INFINITY})}, {}, {}}})}, {});
  EXPECT_EQ(occurrences(html, "<rect class=\"na\""), 2u);
  EXPECT_TRUE(has(html, "no value: prompts are aligned at their ends"));
  EXPECT_TRUE(has(html, "id=\"mt-hatch\""));
  EXPECT_TRUE(has(html, "Hatched:"));
}

TEST(ReportHtml, NoRunsSaysSo) {
  EXPECT_TRUE(has(render_html({}, {}), "there is nothing to show"));
  EXPECT_TRUE(has(render_markdown({}, {}), "there is nothing to show"));
  expect_only_own_tags(render_html({}, {}));
}

TEST(ReportHtml, MalformedArtifactsAreNamedNotFatal) {
  TensorMap map{"m", "", {}, {{"pos", {"only", "two"}}, {"head", {}}}, {}};
  map.arrays.push_back(matrix("labels", {"layer", "pos"}, {2, 3}, {1, 2, 3, 4, 5, 6}));
  map.arrays.push_back(matrix("short", {"layer", "head"}, {2, 3}, {1}));
  map.arrays.push_back(matrix("axes", {"layer"}, {2, 3}, {1, 2, 3, 4, 5, 6}));
  map.arrays.push_back(matrix("negative", {"layer"}, {-4}, {}));
  map.arrays.push_back(matrix("huge", {"a", "b", "c"}, {int64_t{1} << 40, int64_t{1} << 40, 8}, {1}));
  map.arrays.push_back(matrix("empty", {"layer", "head"}, {0, 4}, {}));
  map.arrays.push_back(matrix("scalar", {}, {}, {0.25}));
  map.arrays.push_back(matrix("flat", {"layer", "head"}, {1, 2}, {3, 3}));
  map.arrays.push_back(matrix("five", {"a", "b", "c", "d", "e"}, {2, 2, 1, 2, 2}, std::vector<double>(16, 1)));
  Table ragged{"t", "", {{"a", "", ""}, {"b", "", ""}}, {{int64_t{1}}, {}, {std::string("x"), 2.0, 3.0}}};
  Series odd{"s", "", "x", "y", {{"uneven", {1, 2, 3}, {1}}, {"none", {}, {}}, {"nan", {NAN}, {NAN}}}};
  std::string html =
      render_html({single_run({map, ragged, odd, Table{}, TensorMap{}, Series{}, Text{}, Circuit{}})}, {});
  EXPECT_TRUE(has(html, "Labels of axis pos are left out: 2 labels for 3 indices."));
  EXPECT_TRUE(has(html, "1 numbers for shape [2,3]"));
  EXPECT_TRUE(has(html, "1 axis names for shape [2,3]"));
  EXPECT_TRUE(has(html, "shape [-4] is not usable"));
  EXPECT_TRUE(has(html, "holds no cells"));
  EXPECT_TRUE(has(html, "0.25"));
  expect_only_own_tags(html);
  EXPECT_FALSE(
      render_markdown({single_run({map, ragged, odd, Table{}, TensorMap{}, Series{}, Text{}, Circuit{}})}, {}).empty());
}

TEST(ReportHtml, MalformedContextIsNotFatal) {
  for (const Json& context :
       {Json(), Json(3), Json::array({1}),
        Json{{"model", 4}, {"prompts", "x"}, {"task", {1}}, {"analysis", nullptr}, {"attempt", "now"}},
        Json{{"model", {{"layers", {1, "a", {{"kind", 5}}}}}},
             {"prompts", {1, {{"clean", {1, nullptr, {2}}}, {"positions", {{"a", "b"}}}}}}}}) {
    ReportRun run = single_run({TensorMap{"m", "", {matrix("x", {"layer", "pos"}, {2, 2}, {1, 2, 3, 4})}, {}, {}}});
    run.context = context;
    expect_only_own_tags(render_html({run}, {}));
    EXPECT_TRUE(has(render_markdown({run}, {}), "# "));
  }
}

TEST(ReportHtml, InvalidUtf8BecomesReplacementCharacters) {
  ReportRun run = single_run({});
  run.result.findings = {"bad \xff\xfe byte \xc3", "lone \xed\xa0\x80 surrogate", std::string("zero \0 byte", 11)};
  run.context["prompts"][0]["clean"][1] = "\xe2\x82";
  std::string html = render_html({run}, {"\xf0\x9f", "", "", ""});
  EXPECT_EQ(report::clean_utf8(html), html);
  EXPECT_TRUE(has(html, "bad \xEF\xBF\xBD\xEF\xBF\xBD byte \xEF\xBF\xBD"));
  EXPECT_TRUE(has(html, "zero \xE2\x90\x80 byte"));
}

TEST(ReportHtml, LargeMapsArePooledAndSaySo) {
  std::vector<double> data(300 * 200);
  for (size_t i = 0; i < data.size(); ++i) data[i] = i == 777 ? -9 : 0.001 * static_cast<double>(i % 7);
  std::string html = render_html(
      {single_run({TensorMap{"m", "", {matrix("x", {"source", "destination"}, {300, 200}, data)}, {}, {}}})}, {});
  EXPECT_TRUE(has(html, "300 \xC3\x97 200 cells are drawn as 60 \xC3\x97 50"));
  EXPECT_TRUE(has(html, "class=\"d0\""));  // the one strong cell survives
  EXPECT_LT(html.size(), size_t{200} << 10);
}

TEST(ReportHtml, ManyLongPatternsStayWithinTheBudget) {
  TensorMap map{"patterns", "", {}, {}, {{"pattern", "pattern"}}};
  int64_t n = 96;
  std::vector<double> data(12 * 12 * n * n);
  for (size_t i = 0; i < data.size(); ++i) {
    int64_t k = static_cast<int64_t>(i) % n, q = static_cast<int64_t>(i) / n % n;
    data[i] = k > q ? 0 : 1.0 / static_cast<double>(1 + (q * 7 + k * 13 + static_cast<int64_t>(i) / (n * n)) % 23);
  }
  map.arrays.push_back(matrix("pattern", {"layer", "head", "q_pos", "k_pos"}, {12, 12, n, n}, data));
  ReportRun run = single_run({map}), other = run;
  other.record.model_name = "other";
  std::string html = render_html({run, other}, {});
  EXPECT_LT(html.size(), size_t{5} << 20);
  EXPECT_TRUE(has(html, "Keys after the query are masked"));
}

TEST(ReportText, NumbersAreShortAndKeepTheirSign) {
  using report::number;
  EXPECT_EQ(number(0.83149), "0.831");
  EXPECT_EQ(number(12.345), "12.3");
  EXPECT_EQ(number(1234567), "1,234,567");
  EXPECT_EQ(number(-0.5),
            "\xE2\x88\x92"
            "0.5");
  EXPECT_EQ(number(3.2e-5), "3.2e-5");
  EXPECT_EQ(number(NAN), "\xE2\x80\x93");
  EXPECT_EQ(report::count(-1234),
            "\xE2\x88\x92"
            "1,234");
  EXPECT_EQ(report::fixed_number(0.00001, 3), "1e-5");
  EXPECT_EQ(report::fixed_number(-0.0, 2), "0.00");
  EXPECT_EQ(report::coordinate(-0.001), "0");
  EXPECT_EQ(report::source_text("2211.00593, arXiv 2309.16042 (see 12.3)"),
            "arXiv 2211.00593, arXiv 2309.16042 (see 12.3)");
}

TEST(ReportText, MarkdownSubsetIsSafe) {
  using report::markdown_to_html;
  EXPECT_EQ(markdown_to_html("# A\n\ntext **bold** `x<y`\n- one\n- two"),
            "<h4>A</h4><p>text <b>bold</b> <code>x&lt;y</code></p><ul><li>one</li><li>two</li></ul>");
  EXPECT_EQ(markdown_to_html("[a](javascript:x)"), "<p>[a](javascript:x)</p>");
  EXPECT_EQ(markdown_to_html("[a](https://e.org/\"onx)"),
            "<p><a rel=\"noopener noreferrer\" href=\"https://e.org/&quot;onx\">a</a></p>");
  EXPECT_EQ(markdown_to_html("```\n<b>\n```"), "<pre><code>&lt;b&gt;\n</code></pre>");
  EXPECT_EQ(report::code_block("a```b"), "````\na```b\n````\n");
}

TEST(ReportMarkdown, HoldsFindingsNumbersAndCommands) {
  std::string md = render_markdown(sample_runs(), sample_options());
  for (const char* s : {"## What was found", "## Models", "## Prompts", "## Activation patching", "## How to repeat",
                        "3.1 to 3.7", "microtome run dla", "| layer \\\\ head |"}) {
    EXPECT_TRUE(has(md, s)) << s;
  }
  EXPECT_LT(md.size(), size_t{1} << 20);
}

TEST(Report, PicturesOfTheAppAreCarriedAsPicturesOnly) {
  ReportOptions options = sample_options();
  ReportPicture p;
  p.title = "Attention of 1.2 " + kHostile;
  p.command = "microtome run attention --prompt 'a & b'";
  p.note = "see the <diagonal>";
  p.svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
  p.file = "report-pictures/1.svg";
  options.pictures = {p};
  std::string html = render_html(sample_runs(), options);
  EXPECT_TRUE(has(html, "href=\"#pictures\""));
  // base64 of the whole document: as an <img> nothing in it runs.
  EXPECT_TRUE(has(html, "src=\"data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjxzY3JpcHQ+YWxlcnQoMSk8L3NjcmlwdD48L3N2Zz4=\""));
  EXPECT_FALSE(has(html, "<script>alert(1)"));
  EXPECT_TRUE(has(html, "see the &lt;diagonal&gt;"));
  EXPECT_TRUE(has(html, "a &amp; b"));
  std::string md = render_markdown(sample_runs(), options);
  EXPECT_TRUE(has(md, "](<report-pictures/1.svg>)"));
  EXPECT_FALSE(has(render_html(sample_runs(), sample_options()), "id=\"pictures\""));
}

TEST(Report, NotesOfTheAuthorComeFirstAndAreKeptWithoutRuns) {
  ReportOptions o = sample_options();
  o.notes_markdown = "the heads differ";
  for (const std::string& text : {render_html(sample_runs(), o), render_markdown(sample_runs(), o)}) {
    size_t said = text.find("the heads differ"), found = text.rfind("What was found");
    ASSERT_NE(said, std::string::npos);
    ASSERT_NE(found, std::string::npos);
    EXPECT_LT(said, found);
  }
  EXPECT_LT(render_html(sample_runs(), o).find("href=\"#notes\""), render_html(sample_runs(), o).find("href=\"#found\""));
  EXPECT_TRUE(has(render_html({}, o), "the heads differ"));
  EXPECT_TRUE(has(render_markdown({}, o), "the heads differ"));
}

TEST(Report, NotesOnArtifactsAreShown) {
  auto runs = sample_runs();
  runs[0].context["artifact_notes"] = {{"effect", "odd <row>"}};
  EXPECT_TRUE(has(render_html(runs, sample_options()), "Note on effect"));
  EXPECT_TRUE(has(render_html(runs, sample_options()), "odd &lt;row&gt;"));
}

// A dictionary's weights are told, not drawn.
TEST(Report, WeightsOfADictionaryAreASentence) {
  TensorMap map{"dictionary", "Weights: blocks.1.hook_resid_post", {}, {}, {}};
  map.arrays = {{"W_dec", {"feature", "d_out"}, {4, 2}, std::vector<float>(8, 0.5f), "", ""}, {"b_dec", {"d_out"}, {2}, std::vector<float>(2, 0.25f), "", ""}};
  const size_t drawn = occurrences(render_html({single_run({map})}, sample_options()), "<svg");
  map.axis_labels["config"] = {R"({"kind":"topk","d_in":2,"d_out":2,"d_sae":4})"};
  const std::string html = render_html({single_run({map})}, sample_options());
  EXPECT_TRUE(has(html, "A dictionary of 4 features of the kind topk, from width 2 to 2: W_dec [4, 2], b_dec [2]")) << html;
  EXPECT_LT(occurrences(html, "<svg"), drawn);
  EXPECT_TRUE(has(render_markdown({single_run({map})}, sample_options()), "A dictionary of 4 features"));
}

// Many dictionaries of one run stand in a table, a row each; n is what the run took its means over.
TEST(Report, ASummaryOfManyThingsIsATable) {
  ReportRun run = single_run({});
  run.record.analysis = run.record.spec.analysis = "sae";
  run.record.spec.answer_params = {{"corpus", "sha256:12"}, {"eval_tokens", "8192"}};
  for (const char* k : {"8", "16", "32"}) {
    const std::string of = std::string(" (blocks.2.hook_resid_post, k ") + k + ")";
    run.result.summary.push_back({"l0" + of, std::atof(k), "features", "mean number of active features a token", NAN, NAN, 8128});
    run.result.summary.push_back({"fvu" + of, 1 / std::atof(k), "", "share that is not explained", NAN, NAN, 8128});
  }
  run.result.summary.push_back({"seconds", 12.5, "s", "how long it took", NAN, NAN, 0});
  const std::string html = render_html({run}, sample_options());
  EXPECT_TRUE(has(html, "<td>blocks.2.hook_resid_post, k 16</td><td class=\"n\">16</td><td class=\"n\">0.0625</td>")) << html;
  EXPECT_FALSE(has(html, "l0 (blocks.2"));
  EXPECT_EQ(occurrences(html, "share that is not explained"), 1u);
  EXPECT_TRUE(has(html, "Over 8,128 tokens."));
  EXPECT_TRUE(has(html, "<td>seconds <span class=\"unit\">s</span></td>"));
  EXPECT_TRUE(has(html, "<th class=\"n\" scope=\"col\">tokens</th>"));
  const std::string markdown = render_markdown({run}, sample_options());
  EXPECT_TRUE(has(markdown, "k 16 | 16 | 0.0625 |")) << markdown;
  // One thing, or one quantity, is a list as before; prompts are called so.
  run.result.summary.resize(2);
  run.record.spec.answer_params.clear();
  const std::string list = render_html({run}, sample_options());
  EXPECT_TRUE(has(list, "<td>l0 (blocks.2.hook_resid_post, k 8) "));
  EXPECT_TRUE(has(list, "<th class=\"n\" scope=\"col\">prompts</th>"));
}

}  // namespace
}  // namespace microtome
