// Features in reports and as pages: what is shown, and that no text from a model or a person becomes markup.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "app/report/feature_html.h"
#include "sample_runs.h"

namespace microtome {
namespace {

using namespace report;

const std::string kHostile = "</script><script>alert(1)</script><img src=x onerror=\"alert('x')\">";

size_t occurrences(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}
bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

// Every tag is one of ours, opened tags are closed in order, and no attribute runs a script.
void expect_well_formed(const std::string& html) {
  static const std::set<std::string> single = {"meta", "input", "!DOCTYPE"};
  static const std::set<std::string> known = {"html", "head", "title", "style", "body", "header", "p", "h1", "h2", "h3", "h4", "h5", "h6", "main", "section", "article", "div", "span", "figure", "svg", "g", "text", "ol", "ul",
                                              "li", "a", "nav", "table", "thead", "tbody", "tr", "th", "td", "label", "footer", "script", "rect", "line", "path", "stop", "circle", "b", "code", "defs", "pattern", "linearGradient", "details", "summary", "figcaption", "i", "pre"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const bool closing = html[at + 1] == '/';
    size_t from = at + 1 + closing, end = from;
    while (end < html.size() && (std::isalnum(static_cast<unsigned char>(html[end])) || html[end] == '!')) ++end;
    const std::string name = html.substr(from, end - from);
    size_t close = end;
    bool quoted = false;
    for (; close < html.size() && (quoted || html[close] != '>'); ++close) quoted = quoted != (html[close] == '"');
    ASSERT_LT(close, html.size());
    const std::string attributes = html.substr(end, close - end);
    std::string bare;
    bool inside = false;
    for (char c : attributes) {
      if (c == '"') inside = !inside;
      else if (!inside) bare += c;
    }
    EXPECT_FALSE(has(bare, " on")) << html.substr(at, 200);
    if (closing) {
      ASSERT_FALSE(open.empty()) << name;
      EXPECT_EQ(open.back(), name) << html.substr(at > 200 ? at - 200 : 0, 260);
      open.pop_back();
    } else if (single.count(name) == 0) {
      ASSERT_TRUE(known.count(name)) << name << " in " << html.substr(at, 100);
      if (attributes.empty() || attributes.back() != '/') open.push_back(name);
      if (name == "script" || name == "style") close = html.find("</" + name, close) - 1;
    }
    at = close;
  }
  EXPECT_TRUE(open.empty());
}

FeatureSet sample(const std::string& token = " Monday") {
  FeatureSet s{"features", "What each feature fires on", "tiny-sae", "blocks.1.hook_resid_post", 512, 100000, {}, {}};
  s.token_texts = {{0, "<s>"}, {1, " the"}, {2, token}, {3, "\n"}};
  for (int64_t i = 0; i < 20; ++i) {
    FeatureSet::Feature f;
    f.index = 3 * i;
    f.density = i == 4 ? 0.5 : i == 5 ? 0 : 0.001 * static_cast<double>(i + 1);
    f.max = i == 5 ? 0 : 10 - 0.25 * static_cast<double>(i);
    f.mean = 1;
    f.histogram = {100, 10, 0, 1};
    f.top_logits = {{2, 1.5}, {1, 0.5}};
    f.bottom_logits = {{3, -2}};
    f.neighbours = {{3 * i + 3, 0.9}, {500, 0.5}};
    f.coactive = {{0, 0.25}};
    for (int k = 0; k < 5; ++k) f.examples.push_back({"top", k, 7, 2, {0, 1, 2, 3}, {0, 1, static_cast<float>(f.max), 0}});
    f.examples.push_back({"0.25–0.50", 9, 7, 0, {2, 99}, {3, 0}});
    s.features.push_back(f);
  }
  return s;
}

TEST(FeatureHtml, ThoseWithALabelComeFirstThenTheStrongestThatAreNotDense) {
  FeatureSet s = sample();
  s.features[9].label = "mine";
  auto shown = shown_first(s, 12);
  ASSERT_EQ(shown.size(), 12u);
  EXPECT_EQ(shown[0]->index, 27);
  EXPECT_EQ(shown[1]->index, 0);
  for (const auto* f : shown) EXPECT_TRUE(f->index != 12 && f->index != 15) << "dense or dead";
  auto all = shown_first(s, 100);
  EXPECT_EQ(all[18]->index, 12);
  EXPECT_EQ(all[19]->index, 15);
}

TEST(FeatureHtml, TheGalleryShowsThreeExamplesWithShades) {
  const std::string html = render_html({testing::single_run({sample()})}, {});
  EXPECT_EQ(occurrences(html, "<article class=\"feat\""), 12u);
  EXPECT_EQ(occurrences(html, "<div class=\"ex\">"), 36u);
  EXPECT_EQ(occurrences(html, "<svg class=\"fh\""), 12u);
  EXPECT_TRUE(has(html, "Here are 12"));
  const std::string one = example_html(sample(), sample().features[0].examples[0], 10);
  EXPECT_TRUE(has(one, "class=\"tk\">&lt;s&gt;</span>")) << one;
  EXPECT_TRUE(has(one, "class=\"tk a1\" title=\"1\"> the</span>")) << one;
  EXPECT_TRUE(has(one, "class=\"tk a10 pk\" title=\"10\"> Monday</span>")) << one;
  EXPECT_TRUE(has(one, "⏎")) << one;
  // No text for an id, no activations, a peak outside: shown as far as it goes.
  FeatureSet::Example odd{"top", 0, 0, 9, {1, 77}, {std::nanf("")}};
  EXPECT_TRUE(has(example_html(sample(), odd, 0), "#77"));
  expect_well_formed(html);
  const std::string md = render_markdown({testing::single_run({sample()})}, {});
  EXPECT_TRUE(has(md, "**Feature 0**"));
  EXPECT_TRUE(has(md, "⟦·Monday⟧"));
}

TEST(FeatureHtml, BarsAreOneAFilledBin) {
  const std::string svg = histogram_svg(sample().features[0]);
  EXPECT_EQ(occurrences(svg, "<rect"), 3u);
  EXPECT_TRUE(has(svg, "Histogram of 111 activations from 0 to 10"));
  EXPECT_TRUE(has(svg, "0 to 2.5: 100"));
  EXPECT_EQ(histogram_svg({}), "");
}

TEST(FeaturePages, LinkOnlyWhatIsThere) {
  const FeatureSet s = sample();
  FeatureLook look;
  look.link = [](int64_t i) { return i < 500 ? "feature-" + std::to_string(i) + ".html" : std::string(); };
  const std::string page = feature_page(s, s.features[1], look, {"feature-0.html", "", "index.html"}, "run 3");
  expect_well_formed(page);
  EXPECT_TRUE(has(page, "href=\"feature-0.html\""));
  EXPECT_TRUE(has(page, "href=\"feature-6.html\">6</a>"));
  EXPECT_FALSE(has(page, "feature-500"));
  EXPECT_FALSE(has(page, "rel=\"next\""));
  EXPECT_EQ(occurrences(page, "<div class=\"ex\">"), 6u) << "all examples";
  EXPECT_TRUE(has(page, "drawn from 0.25–0.50"));
  EXPECT_TRUE(has(page, "prefers-color-scheme"));
  EXPECT_TRUE(has(page, "default-src 'none'"));
  EXPECT_FALSE(has(page, "http://") || has(page, "https://"));
  const std::string all = features_page(s, "");
  expect_well_formed(all);
  EXPECT_EQ(occurrences(all, "<article"), 20u);
  EXPECT_TRUE(has(all, "href=\"#feature-3\""));
  const std::string index = feature_index_page(s, {{7, "seven", 0.01, 3, 1, " a", "b a c"}, {8, "", 0, 0, NAN, "", ""}}, "", look.link);
  expect_well_formed(index);
  EXPECT_TRUE(has(index, "href=\"feature-7.html\">7</a>"));
  EXPECT_EQ(occurrences(index, "<tr>"), 3u);
  expect_well_formed(feature_index_page(s, {}, "", {}));
}

TEST(FeaturePages, HostileTextIsText) {
  FeatureSet s = sample(kHostile);
  s.dictionary = s.hook = s.title = kHostile;
  for (auto& f : s.features) {
    f.label = kHostile;
    f.examples.back().band = kHostile;
  }
  FeatureLook look;
  look.link = [](int64_t) { return kHostile; };
  const std::vector<std::string> pages = {render_html({testing::single_run({s})}, {}), feature_page(s, s.features[0], look, {kHostile, kHostile, kHostile}, kHostile), features_page(s, kHostile),
                                          feature_index_page(s, {{7, kHostile, 0.01, 3, 1, kHostile, kHostile}}, kHostile, look.link)};
  for (const std::string& html : pages) {
    EXPECT_EQ(occurrences(html, "<script"), 1u);
    EXPECT_EQ(occurrences(html, "</script"), 1u);
    EXPECT_FALSE(has(html, "<img"));
    EXPECT_TRUE(has(html, "&lt;/script&gt;"));
    expect_well_formed(html);
  }
  const std::string md = render_markdown({testing::single_run({s})}, {});
  for (size_t at = md.find("<script"); at != std::string::npos; at = md.find("<script", at + 1)) {
    const std::string before = md.substr(md.rfind('\n', at) + 1, at - md.rfind('\n', at) - 1);
    EXPECT_EQ(occurrences(before, "`") % 2, 1u) << before;
  }
}

}  // namespace
}  // namespace microtome
