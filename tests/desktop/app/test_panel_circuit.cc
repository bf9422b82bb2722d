// The Circuit panel against circuits of known scores and a meter that is a formula: what the slider keeps, questions that are dropped,
// knock-outs, selection, the stored curve, empty states. Comparison and what is kept in the project: test_panel_circuit_more.cc.
#include "tests/desktop/app/circuit_panel_test.h"

namespace microtome::desktop {
namespace {

TEST_F(CircuitPanelTest, WithoutAModelItOffersTheDemo) {
  open();
  auto* state = panel_->findChild<EmptyState*>();
  QTest::qWait(30);
  EXPECT_TRUE(state->isVisible());
  EXPECT_EQ(state->findChild<QPushButton*>()->text(), QStringLiteral("Try the demo"));
  EXPECT_TRUE(panel_->views().empty());
}

TEST_F(CircuitPanelTest, WithoutACircuitItSaysWhatToDo) {
  openTwins(8, false);
  open();
  auto* state = column(0)->findChild<EmptyState*>();
  ASSERT_TRUE(waitUntil([&] { return state->isVisible(); }));
  bool any = false;
  for (const app::AnalysisFacts& a : session_->analyses())
    for (const OutputInfo& o : a.info.outputs) any = any || o.name == "edge_scores";
  EXPECT_EQ(panel_->findChild<QPushButton*>(QStringLiteral("circuit_run"))->isEnabled(), any);
  EXPECT_EQ(state->findChild<QPushButton*>()->isVisible(), any) << "the button runs it";
  EXPECT_FALSE(slider()->isVisible());
  EXPECT_TRUE(panel_->views().empty());
  picture(panel_.get(), QStringLiteral("circuit_empty"));
}

TEST_F(CircuitPanelTest, TheNewestStoredCircuitIsShownAtOnce) {
  openTwins(8, false);
  const Circuit circuit = sample();
  log_->all = sum(circuit);
  storeCircuit(sample(0.1), 0, "made_up", {}, "other prompts");
  const qint64 older = storeCircuit(sample(0.2));
  const qint64 newest = storeCircuit(circuit);
  storeCircuit(sample(0.3), 0, "made_up", {}, "other prompts");
  openShown();
  EXPECT_EQ(column(0)->shownRun(), newest) << "the newest on the prompts of the window";
  const GraphData& data = graph()->graph();
  EXPECT_EQ(data.nodes.size(), circuit.nodes.size());
  EXPECT_EQ(data.edges.size(), circuit.edges.size());
  for (const GraphNode& n : data.nodes) EXPECT_EQ(n.kind, n.box ? LayerKind::kNone : LayerKind::kSoftmax) << n.name.toStdString();
  // What the analysis kept, and nothing else.
  const int64_t found = std::count_if(circuit.edges.begin(), circuit.edges.end(), [](const Circuit::Edge& e) { return e.in_graph; });
  EXPECT_EQ(graph()->visibleEdges(), found);
  EXPECT_TRUE(tool("circuit_as_found")->isChecked());
  EXPECT_EQ(spin()->value(), found);
  const double f = MeterLog::faithfulness(circuit, {}, log_->all);
  EXPECT_TRUE(text("circuit_measure_0").startsWith(QStringLiteral("faithfulness %1 (%2 … %3), logit diff %4 of 12")
                                                       .arg(two(f), two(f - 0.02), two(f + 0.03), numberText(2 + 10 * f, 3))))
      << text("circuit_measure_0").toStdString();
  EXPECT_TRUE(text("circuit_measure_0").contains(QStringLiteral(", %1 edges, ").arg(found)));
  EXPECT_TRUE(graph()->command().startsWith(QStringLiteral("microtome run made_up")));
  EXPECT_EQ(graph()->sourceRun(), newest);
  EXPECT_EQ(graph()->csv().count(QStringLiteral("\r\n")), found + 1);
  EXPECT_EQ(panel_->views().front(), graph());

  // Any of the others by the list; the prompts of the window stand above.
  auto* list = column(0)->findChild<QComboBox*>(QStringLiteral("circuit_list"));
  ASSERT_EQ(list->count(), 4);
  EXPECT_EQ(list->itemData(0).toLongLong(), newest);
  EXPECT_EQ(list->itemData(1).toLongLong(), older);
  list->setCurrentIndex(1);
  Q_EMIT list->activated(1);
  ASSERT_TRUE(waitUntil([&] { return column(0)->shownRun() == older; }));
  EXPECT_LT(graph()->visibleEdges(), found);
}

TEST_F(CircuitPanelTest, TheSliderKeepsTheStrongestAndLeavesDeadEndsOut) {
  openTwins(8, false);
  const Circuit circuit = sample();
  log_->all = sum(circuit);
  storeCircuit(circuit);
  openShown();
  ASSERT_EQ(slider()->minimum(), 0);
  int64_t last = 0;
  for (const int place : {0, slider()->maximum() / 4, slider()->maximum() / 2, slider()->maximum() * 3 / 4, slider()->maximum()}) {
    slider()->setValue(place);
    const int64_t n = spin()->value();
    EXPECT_GT(n, last);
    last = n;
    const std::vector<char> in = prunedByHand(circuit, n);
    EXPECT_FALSE(tool("circuit_as_found")->isChecked());
    ASSERT_EQ(graph()->visibleEdges(), countOf(in)) << n;
    // Just these, by name.
    std::multiset<QString> want, shown;
    for (size_t i = 0; i < in.size(); ++i)
      if (in[i]) want.insert(QString::fromStdString(circuit.edges[i].from + "," + circuit.edges[i].to.substr(0, circuit.edges[i].to.find('<'))));
    const QStringList rows = graph()->csv().split(QStringLiteral("\r\n"), Qt::SkipEmptyParts).mid(1);
    for (const QString& row : rows) shown.insert(row.section(QLatin1Char(','), 0, 1));
    EXPECT_EQ(want, shown);
    if (countOf(in) == 0) {
      EXPECT_TRUE(text("circuit_measure_0").contains(QStringLiteral("path"))) << text("circuit_measure_0").toStdString();
      continue;
    }
    const QString sentence = QStringLiteral("faithfulness %1 (").arg(two(MeterLog::faithfulness(keptOf(circuit, in), {}, log_->all)));
    ASSERT_TRUE(waitUntil([&] { return text("circuit_measure_0").startsWith(sentence); })) << sentence.toStdString() << " / " << text("circuit_measure_0").toStdString();
  }
  EXPECT_EQ(last, static_cast<int64_t>(circuit.edges.size()));
  EXPECT_TRUE(text("circuit_measure_0").startsWith(QStringLiteral("faithfulness 1.00")));
  // A number that is typed; and back to what the analysis kept.
  spin()->setValue(17);
  EXPECT_EQ(graph()->visibleEdges(), countOf(prunedByHand(circuit, 17)));
  tool("circuit_as_found")->click();
  EXPECT_EQ(graph()->visibleEdges(), std::count_if(circuit.edges.begin(), circuit.edges.end(), [](const Circuit::Edge& e) { return e.in_graph; }));
  // At rest the curve fills, each point as measured; the cursor is where the slider is.
  spin()->setValue(60);
  ASSERT_TRUE(waitUntil([&] { return curve()->data().lines.size() == 1 && curve()->data().lines[0].x.size() >= 8; }));
  ASSERT_TRUE(settle());
  const ChartLine& line = curve()->data().lines[0];
  const std::vector<double> xs = line.x;
  for (size_t i = 0; i + 1 < xs.size(); ++i) EXPECT_LT(xs[i], xs[i + 1]);
  EXPECT_NEAR(line.y.back(), 1, 1e-9);
  EXPECT_NEAR(std::pow(10.0, curve()->cursor()), static_cast<double>(countOf(prunedByHand(circuit, 60))), 1e-6);
  EXPECT_EQ(log_->mostInside, 1) << "one question at a time";
  EXPECT_EQ(log_->made, 1) << "one meter for all of them";
  settleGraph();
  picture(panel_.get(), QStringLiteral("circuit_slider"));
}

TEST_F(CircuitPanelTest, QuestionsOfPlacesThatWereLeftAreDropped) {
  openTwins(8, false);
  const Circuit circuit = sample();
  log_->all = sum(circuit);
  storeCircuit(circuit);
  openShown();
  const size_t before = log_->count();
  log_->hold();
  QElapsedTimer clock;
  clock.start();
  slider()->setValue(slider()->maximum() / 2);
  const int places = 40;
  for (int i = 1; i <= places; ++i) slider()->setValue(slider()->maximum() / 2 + i);
  EXPECT_LT(clock.elapsed(), 2000) << "the window never waits for an answer";
  EXPECT_TRUE(text("circuit_measure_0").contains(QStringLiteral("measuring"))) << text("circuit_measure_0").toStdString();
  const int64_t n = spin()->value();
  QTest::qWait(700);
  slider()->setValue(slider()->value() - 1);             // the one that runs has been waited for long enough: given up
  slider()->setValue(slider()->value() + 1);
  log_->release();
  const std::vector<char> in = prunedByHand(circuit, n);
  const QString sentence = QStringLiteral("faithfulness %1 (").arg(two(MeterLog::faithfulness(keptOf(circuit, in), {}, log_->all)));
  ASSERT_TRUE(waitUntil([&] { return text("circuit_measure_0").startsWith(sentence); })) << text("circuit_measure_0").toStdString();
  std::vector<int64_t> asked;
  {
    const std::lock_guard<std::mutex> guard(log_->lock);
    for (size_t i = before; i < log_->asked.size(); ++i) asked.push_back(log_->asked[i].first);
  }
  EXPECT_LE(asked.size(), 4u) << "of " << places << " places only the first, the last and those at rest were asked about";
  EXPECT_NE(std::find(asked.begin(), asked.end(), countOf(in)), asked.end());
}

TEST_F(CircuitPanelTest, KnockedOutNodesAreCrossedOutAndMeasured) {
  openTwins(8, false);
  const Circuit circuit = sample();
  log_->all = sum(circuit);
  storeCircuit(circuit);
  openShown();
  EXPECT_FALSE(tool("circuit_knock")->isEnabled());
  settleGraph();
  clickNode("a2.h1");
  ASSERT_TRUE(tool("circuit_knock")->isEnabled());
  key(Qt::Key_K);
  const double with = MeterLog::faithfulness(circuit, {}, log_->all);
  const auto sentence = [&](const std::vector<std::string>& out, const char* names) {
    const double f = MeterLog::faithfulness(circuit, out, log_->all);
    return QStringLiteral("without %1: logit diff %2 instead of %3, faithfulness %4 instead of %5")
        .arg(QString::fromLatin1(names), numberText(2 + 10 * f, 3), numberText(2 + 10 * with, 3), two(f), two(with));
  };
  ASSERT_TRUE(waitUntil([&] { return text("circuit_knocked_0") == sentence({"a2.h1"}, "a2.h1"); })) << text("circuit_knocked_0").toStdString();
  // Several at once, by the button.
  clickNode("m1");
  EXPECT_EQ(tool("circuit_knock")->text(), QStringLiteral("Knock out"));
  tool("circuit_knock")->click();
  ASSERT_TRUE(waitUntil([&] { return text("circuit_knocked_0") == sentence({"a2.h1", "m1"}, "a2.h1, m1"); })) << text("circuit_knocked_0").toStdString();
  settleGraph();
  picture(panel_.get(), QStringLiteral("circuit_knocked_out"));
  EXPECT_EQ(tool("circuit_knock")->text(), QStringLiteral("Put back"));
  tool("circuit_knock")->click();
  EXPECT_EQ(text("circuit_knocked_0"), sentence({"a2.h1"}, "a2.h1")) << "known answers are there at once";
  // Saved as it stands: what is knocked out is not in it, all the rest of what is shown is.
  const std::unique_ptr<QMenu> menu(column(0)->graph()->makeMenu(nullptr));
  auto* save = menu->findChild<QAction*>(QStringLiteral("save_circuit"));
  ASSERT_TRUE(save != nullptr && save->isEnabled());
  QTemporaryDir folder;
  QString why;
  ASSERT_TRUE(column(0)->saveCircuit(folder.filePath(QStringLiteral("c.json")), &why)) << why.toStdString();
  const Circuit saved = read_circuit_file(folder.filePath(QStringLiteral("c.json")).toStdString()).value();
  ASSERT_EQ(saved.edges.size(), circuit.edges.size());
  for (const Circuit::Edge& e : saved.edges)
    EXPECT_EQ(e.in_graph, e.from != "a2.h1" && endOf(e.to).first != "a2.h1" && column(0)->order()->holds(static_cast<size_t>(column(0)->edgeNamed(edgeName(e))), column(0)->choice())) << edgeName(e);
  EXPECT_FALSE(column(0)->saveCircuit(folder.filePath(QStringLiteral("no/such/c.json")), &why));
  EXPECT_FALSE(why.isEmpty());
  clickNode("input");
  EXPECT_FALSE(tool("circuit_knock")->isEnabled()) << "the input is no part that can be taken out";
  key(Qt::Key_K, Qt::ShiftModifier);
  EXPECT_TRUE(text("circuit_knocked_0").isEmpty());
  EXPECT_TRUE(column(0)->knockedOut().empty());
}

TEST_F(CircuitPanelTest, SelectionIsShared) {
  openTwins(8, false);
  const Circuit circuit = sample();
  storeCircuit(circuit);
  openShown();
  settleGraph();
  Selection& s = session_->selection();
  clickNode("a3.h2");
  EXPECT_EQ(s.layer(), 3);
  EXPECT_EQ(s.head(), 2);
  EXPECT_EQ(s.node(), QStringLiteral("a3.h2"));
  int64_t in = 0, out = 0;
  double size = 0;
  for (const Circuit::Edge& e : circuit.edges) {
    if (!e.in_graph) continue;
    const bool from = e.from == "a3.h2", to = endOf(e.to).first == "a3.h2";
    in += to;
    out += from;
    if (from || to) size += std::abs(e.score);
  }
  const auto edges = [](int64_t n) { return n == 1 ? QStringLiteral("1 edge") : QStringLiteral("%1 edges").arg(n); };
  EXPECT_EQ(text("circuit_selected"), QStringLiteral("a3.h2 · %1 in, %2 out · Σ |score| of these %3").arg(edges(in), edges(out), numberText(size)));
  clickNode("m2");
  EXPECT_EQ(s.layer(), 2);
  EXPECT_EQ(s.head(), -1);

  // An edge, where nothing lies over it.
  key(Qt::Key_Escape);
  spin()->setValue(6);
  for (int n = 6; graph()->visibleEdges() == 0; ++n) spin()->setValue(n);
  settleGraph();
  auto* canvas = graph()->findChild<GraphCanvas*>();
  bool hit = false;
  for (size_t e = 0; e < circuit.edges.size() && !hit; ++e) {
    if (!column(0)->order()->holds(e, column(0)->choice())) continue;
    const QPointF at = graph()->edgePosition(static_cast<int>(e));
    QTest::mouseClick(canvas->viewport(), Qt::LeftButton, {}, canvas->viewport()->mapFrom(graph(), at.toPoint()));
    hit = s.edge() == QString::fromStdString(edgeName(circuit.edges[e]));
    if (!hit) continue;
    EXPECT_TRUE(text("circuit_selected").contains(QStringLiteral("score %1").arg(numberText(circuit.edges[e].score)))) << text("circuit_selected").toStdString();
    EXPECT_EQ(graph()->selectedEdge(), static_cast<int>(e));
    const NodePlaceName to = placeOfNode(endOf(circuit.edges[e].to).first), from = placeOfNode(circuit.edges[e].from);
    EXPECT_EQ(s.layer(), to.kind != NodePlaceName::Kind::kOther ? to.layer : from.layer);
  }
  EXPECT_TRUE(hit);
  EXPECT_TRUE(s.node().isEmpty());

  // What is selected elsewhere is selected here.
  s.setHead(1, 3);
  EXPECT_EQ(graph()->selectedNode(), nodeNamed(graph()->graph(), "a1.h3"));
  EXPECT_TRUE(text("circuit_selected").startsWith(QStringLiteral("a1.h3")));
}

TEST_F(CircuitPanelTest, TheRunsOwnCurveIsShownAndNothingIsAskedForIt) {
  openTwins(8, false);
  const Circuit circuit = sample();
  Series series;
  series.name = "faithfulness";
  series.x_label = "share of edges (%)";
  series.lines.push_back({"faithfulness", {1, 10, 100}, {0.1, 0.55, 1}});
  storeCircuit(circuit, 0, "made_up", {series});
  openShown();
  QTest::qWait(600);
  ASSERT_TRUE(settle());
  ASSERT_EQ(curve()->data().lines.size(), 1u);
  const ChartLine& line = curve()->data().lines[0];
  ASSERT_EQ(line.y, (std::vector<double>{0.1, 0.55, 1}));
  const auto total = static_cast<double>(circuit.edges.size());
  EXPECT_NEAR(std::pow(10.0, line.x[1]), std::llround(total * 0.1), 1e-6);
  EXPECT_NEAR(std::pow(10.0, line.x[2]), total, 1e-6);
  EXPECT_EQ(log_->count(), 1u) << "the circuit on show, no points of a curve";
}

TEST_F(CircuitPanelTest, WhatCannotBeMeasuredIsSaidAndTheGraphStays) {
  openTwins(8, false);
  log_->problem = "the prompts have no corrupted text";
  storeCircuit(sample());
  open();
  ASSERT_TRUE(waitUntil([&] { return text("circuit_measure_0").contains(QStringLiteral("no corrupted text")); })) << text("circuit_measure_0").toStdString();
  EXPECT_TRUE(text("circuit_measure_0").contains(QStringLiteral("not measured")));
  const size_t asked = log_->count();
  slider()->setValue(slider()->maximum() / 2);
  EXPECT_GT(graph()->visibleEdges(), 0);
  QTest::qWait(600);
  EXPECT_EQ(log_->count(), asked) << "the same question would get the same answer";
  // Other prompts are another question.
  log_->problem.clear();
  log_->all = sum(sample());
  PromptSource source = session_->prompts().source;
  source.count = 6;
  session_->setTask(source);
  EXPECT_TRUE(waitUntil([&] { return text("circuit_measure_0").startsWith(QStringLiteral("faithfulness")); })) << text("circuit_measure_0").toStdString();
  EXPECT_TRUE(text("circuit_hint").contains(QStringLiteral("other prompts"))) << text("circuit_hint").toStdString();
}

TEST_F(CircuitPanelTest, AnAnalysisThatMakesCircuitsRunsFromHere) {
  openTwins(8, false);
  open();
  auto* list = panel_->findChild<QComboBox*>(QStringLiteral("circuit_analysis"));
  ASSERT_GT(list->count(), 0);
  QTest::mouseClick(panel_->findChild<QPushButton*>(QStringLiteral("circuit_run")), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return column(0)->hasCircuit() || column(0)->state() == CircuitColumn::State::kFailed; }, 120000));
  ASSERT_TRUE(column(0)->hasCircuit()) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(settle());
  EXPECT_EQ(column(0)->request().analysis, list->currentData().toString());
  EXPECT_GT(graph()->visibleEdges(), 0);
}

}  // namespace
}  // namespace microtome::desktop
