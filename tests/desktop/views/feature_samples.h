// feature_samples.h — a feature set and an attribution graph with known contents, for tests of views and panels.
#pragma once

#include "core/base/attribution_graph.h"
#include "core/base/feature_set.h"

namespace microtome::desktop {

// Features 0, 3, 6, …: number i fires on token i % words with `count - i` as its largest activation; every fourth never fires.
inline FeatureSet sampleFeatures(int count) {
  const char* words[] = {" the", " king", " of", "\n", " Paris", " said", "ing", " 12"};
  FeatureSet set;
  set.name = "features";
  set.title = "Features of a sample";
  set.dictionary = "sample-sae";
  set.hook = "blocks.1.hook_resid_post";
  set.d_sae = 3 * count;
  set.tokens_seen = 10000;
  for (int64_t t = 0; t < 8; ++t) set.token_texts[t] = words[t];
  for (int i = 0; i < count; ++i) {
    FeatureSet::Feature f;
    f.index = 3 * i;
    if (i == 1) f.label = "royalty";
    if (i % 4 != 3) {
      f.density = 0.05 / (1 + i);
      f.max = count - i;
      f.mean = f.max / 3;
      f.histogram = {40, 20, 10, 5, 2, 1};
      for (int e = 0; e < 3; ++e) {
        FeatureSet::Example example;
        example.band = e == 0 ? "top" : "0.50–0.75";
        example.sequence = 10 * i + e;
        example.position = 5;
        example.strongest = 2;
        example.ids = {(i + 1) % 8, (i + 2) % 8, i % 8, (i + 3) % 8};
        example.activations = {0.0f, static_cast<float>(f.max) / 4, static_cast<float>(f.max) / static_cast<float>(e + 1), 0.0f};
        f.examples.push_back(example);
      }
    }
    f.top_logits = {{i % 8, 2.5}, {(i + 1) % 8, 1.25}};
    f.bottom_logits = {{(i + 4) % 8, -2}, {(i + 5) % 8, -0.5}};
    f.neighbours = {{3 * ((i + 1) % count), 0.75}, {1, 0.5}};
    f.coactive = {{3 * ((i + 2) % count), 0.25}};
    set.features.push_back(std::move(f));
  }
  return set;
}

// Three tokens, two layers with two features and an error each, two logits. Weights and influences by hand.
inline AttributionGraph sampleGraph() {
  using Kind = AttributionGraph::Kind;
  AttributionGraph g;
  g.name = "graph";
  g.title = "Attribution graph";
  g.n_layers = 2;
  g.tokens = {"<s>", " the", " king"};
  g.token_ids = {1, 5, 9};
  g.dictionary = "sample-transcoders";
  g.node_threshold = g.edge_threshold = 1;
  g.replacement_score = 0.75;
  g.completeness_score = 0.875;
  g.nodes = {{Kind::kToken, -1, 0, 1, 1, 0.0, true, "“<s>”"},        {Kind::kToken, -1, 1, 5, 1, 0.20, true, "“ the”"},
             {Kind::kToken, -1, 2, 9, 1, 0.45, true, "“ king”"},     {Kind::kFeature, 0, 1, 7, 1.5, 0.30, true, "feature 7 → “ of”"},
             {Kind::kFeature, 0, 2, 11, 2.5, 0.40, true, "feature 11 → “ a”"}, {Kind::kError, 0, 2, -1, 0, 0.05, true, "error of layer 0"},
             {Kind::kFeature, 1, 2, 3, 0.5, 0.60, true, "feature 3 → “ of”"},  {Kind::kFeature, 1, 2, 4, 0.25, 0.02, true, "feature 4 → “ x”"},
             {Kind::kError, 1, 2, -1, 0, 0.10, true, "error of layer 1"},      {Kind::kLogit, 2, 2, 20, 0.7, 0, true, "\" of\" (p=0.700)"},
             {Kind::kLogit, 2, 2, 21, 0.1, 0, true, "\" a\" (p=0.100)"}};
  g.edges = {{6, 9, 2.0}, {4, 6, 1.5}, {3, 6, 0.75}, {2, 4, 1.25}, {1, 3, 1.0}, {8, 9, 0.5}, {5, 6, -0.25}, {7, 10, 0.5}, {3, 7, -0.5}, {2, 10, 0.25}};
  g.supernodes = {{"kings", {4, 6}}};
  return g;
}

}  // namespace microtome::desktop
