// What the Circuit panel shows: how many edges are kept, what that is worth, what is selected, what two circuits share.
#include <QKeyEvent>
#include <QLabel>
#include <QLayout>
#include <QScrollArea>
#include <QSlider>
#include <QSpinBox>
#include <QToolButton>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "app/desktop/panels/circuit/circuit_panel.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr int kPlaces = 400;           // of the slider; fewer where two would be the same number
constexpr int64_t kFirst = 100;        // edges at least that are shown of a circuit of which the analysis chose none
constexpr int kCurvePoints = 13;
constexpr int kMostNamed = 6;          // nodes named in a sentence

QString count(int64_t n) { return QLocale(QLocale::English, QLocale::UnitedStates).toString(static_cast<qlonglong>(n)); }
QString edgesText(int64_t n) { return n == 1 ? QObject::tr("1 edge") : QObject::tr("%1 edges").arg(count(n)); }
QString nodesText(int64_t n) { return n == 1 ? QObject::tr("1 node") : QObject::tr("%1 nodes").arg(count(n)); }
QString share(double f) { return std::isfinite(f) ? QString::number(f, 'f', 2) : QStringLiteral("–"); }

// Counts from `first` to `most`, evenly on a log scale.
std::vector<int64_t> logSteps(int64_t first, int64_t most, int places) {
  std::vector<int64_t> out;
  first = std::clamp<int64_t>(first, 1, std::max<int64_t>(1, most));
  const double ratio = static_cast<double>(most) / static_cast<double>(first);
  for (int i = 0; i < places && most > 0; ++i) {
    const auto n = std::llround(static_cast<double>(first) * std::pow(ratio, static_cast<double>(i) / (places - 1)));
    if (out.empty() || n > out.back()) out.push_back(n);
  }
  return out;
}

// What the run itself measured: lines over numbers of edges. Shares become numbers of edges.
std::map<int64_t, double> storedCurve(const AnalysisResult& result, int64_t total) {
  std::map<int64_t, double> out;
  for (const Artifact& a : result.artifacts) {
    const auto* series = std::get_if<Series>(&a);
    if (!series) continue;
    const QString label = QString::fromStdString(series->x_label.substr(0, 200)).toLower();
    const double unit = label.contains(QLatin1Char('%')) ? static_cast<double>(total) / 100 : label.contains(QLatin1String("share")) ? static_cast<double>(total) : 1;
    for (const Series::Line& line : series->lines) {
      if (line.name != "faithfulness" && !(series->name == "faithfulness" && series->lines.size() == 1)) continue;
      for (size_t i = 0; i < line.x.size() && i < line.y.size(); ++i) {
        const double n = line.x[i] * unit;
        if (std::isfinite(n) && n >= 1 && n <= static_cast<double>(total) + 0.5) out[std::llround(n)] = line.y[i];
      }
      return out;
    }
  }
  return out;
}

std::vector<CircuitQuestion> curveQuestions(const EdgeOrder& order) {
  std::vector<CircuitQuestion> out;
  if (order.countFor(1) == 0) return out;
  for (int64_t n : logSteps(order.countFor(1), order.total(), kCurvePoints)) out.push_back({{n}, {}});
  return out;
}

}  // namespace

const CircuitColumn* CircuitPanel::leading() const {
  const int slot = std::clamp(session().selection().model(), 0, Session::kSlots - 1);
  for (const int i : {slot, 1 - slot})
    if (used(i) && columns_[i]->hasCircuit()) return columns_[i];
  return nullptr;
}

int64_t CircuitPanel::most() const {
  int64_t out = 0;
  for (const CircuitColumn* c : columns_)
    if (c->hasCircuit()) out = std::max(out, c->order()->total());
  return out;
}

EdgeChoice CircuitPanel::choiceFor(const CircuitColumn& column) const {
  const int64_t total = column.order()->total(), all = most();
  if (asFound_ && column.order()->hasFound()) return {0};
  if (total == all) return {std::clamp<int64_t>(count_, 1, total)};
  const double part = static_cast<double>(count_) / static_cast<double>(all);
  return {std::clamp<int64_t>(std::llround(part * static_cast<double>(total)), 1, total)};
}

void CircuitPanel::circuitChanged() {
  const int64_t all = most();
  pair_.reset();
  if (columns_[0]->hasCircuit() && columns_[1]->hasCircuit()) pair_ = std::make_unique<CircuitPair>(columns_[0]->order(), columns_[1]->order());
  bool found = false;
  for (const CircuitColumn* c : columns_) found = found || (c->hasCircuit() && c->order()->hasFound());
  const int64_t before = steps_.empty() ? 0 : steps_.back();
  if (all > 0) {
    if (moved_ && before > 0) {
      count_ = std::clamp<int64_t>(std::llround(static_cast<double>(count_) / static_cast<double>(before) * static_cast<double>(all)), 1, all);
    } else {
      asFound_ = found;
      count_ = std::min(all, kFirst);
      for (const CircuitColumn* c : columns_) {
        if (!c->hasCircuit() || c->order()->total() != all) continue;
        count_ = c->order()->hasFound() ? c->order()->found() : std::max(count_, c->order()->countFor(kFirst));
        break;
      }
    }
  }
  asFound_ = asFound_ && found;
  setting_ = true;
  // Fewer edges than the first path needs are nothing to see.
  int64_t first = all;
  for (const CircuitColumn* c : columns_) {
    if (!c->hasCircuit()) continue;
    const double part = static_cast<double>(all) / static_cast<double>(c->order()->total());
    first = std::min(first, static_cast<int64_t>(static_cast<double>(c->order()->countFor(1)) * part));
  }
  steps_ = logSteps(first, all, kPlaces);
  slider_->setRange(0, std::max(0, static_cast<int>(steps_.size()) - 1));
  slider_->setPageStep(std::max(1, static_cast<int>(steps_.size()) / 20));
  spin_->setRange(all > 0 ? 1 : 0, static_cast<int>(std::min<int64_t>(all, std::numeric_limits<int>::max())));
  of_->setText(tr("of %1").arg(count(all)));
  asFoundButton_->setEnabled(found);
  setting_ = false;
  for (CircuitColumn* c : columns_)
    if (c->hasCircuit()) c->setKnockedOut(c->knockedOut());
  showStates();
  applyChoice();
  followSelection();
}

void CircuitPanel::setCount(int64_t wanted) {
  const int64_t now = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, most()));
  if (now == count_ && !asFound_) return;
  count_ = now;
  asFound_ = false;
  applyChoice();
}

void CircuitPanel::applyChoice() {
  if (most() == 0) {
    showNumbers();
    return;
  }
  setting_ = true;
  asFoundButton_->setChecked(asFound_);
  const auto near = std::lower_bound(steps_.begin(), steps_.end(), count_);
  slider_->setValue(static_cast<int>(std::min<std::ptrdiff_t>(near - steps_.begin(), static_cast<std::ptrdiff_t>(steps_.size()) - 1)));
  spin_->setValue(static_cast<int>(count_));
  setting_ = false;
  for (CircuitColumn* c : columns_)
    if (c->hasCircuit()) c->setChoice(choiceFor(*c));
  showComparison();
  askNow(false);
}

// ---- questions -----------------------------------------------------------------------------------------------------

void CircuitPanel::askNow(bool resting) {
  if (!isVisible()) return scheduleRefresh();
  for (CircuitColumn* c : columns_) {
    if (!used(c->slot()) || !c->hasCircuit()) continue;
    std::vector<CircuitQuestion> wanted{{c->choice(), {}}}, idle;
    if (!c->knockedOut().empty()) wanted.push_back({c->choice(), {c->knockedOut().begin(), c->knockedOut().end()}});
    if (resting && storedCurve(c->run()->result, c->order()->total()).size() < 2) idle = curveQuestions(*c->order());
    c->questions()->want(wanted, idle);
  }
  if (!resting) rest_.start();
  showNumbers();
}

QString CircuitPanel::measureText(const CircuitColumn& column) const {
  const CircuitQuestions& asked = *column.questions();
  const QString name = session().comparing() ? labelText(session().model(column.slot())->facts().name, 40) + QStringLiteral(": ") : QString();
  const EdgeChoice& choice = column.choice();
  const int64_t edges = column.order()->edges(choice);
  if (edges == 0) return name + tr("none of the %1 strongest edges lies on a path from the input to the logits: keep more of them").arg(count(choice.count));
  if (const app::CircuitMeasure* m = asked.answer({choice, {}})) {
    QString text = tr("faithfulness %1").arg(share(m->faithfulness));
    if (std::isfinite(m->low) && std::isfinite(m->high)) text += tr(" (%1 … %2)").arg(share(m->low), share(m->high));
    text += tr(", %1 %2 of %3").arg(nameText(asked.metric().toStdString()), numberText(m->metric, 3), numberText(asked.whole(), 3));
    return name + text + QStringLiteral(", ") + edgesText(m->edges) + QStringLiteral(", ") + nodesText(m->nodes);
  }
  const std::vector<char> nodes = column.order()->nodes(choice);
  const QString size = edgesText(edges) + QStringLiteral(", ") + nodesText(std::accumulate(nodes.begin(), nodes.end(), int64_t{0}));
  if (!asked.problem().isEmpty()) return name + size + tr("; not measured: %1").arg(asked.problem());
  if (!session().prompts().bySlot[column.slot()]) return name + size + tr("; not measured: there are no prompts");
  return name + size + tr("; measuring faithfulness…");
}

QString CircuitPanel::knockText(const CircuitColumn& column) const {
  if (column.knockedOut().empty()) return {};
  const CircuitQuestions& asked = *column.questions();
  QStringList names;
  for (const std::string& n : column.knockedOut()) {
    if (names.size() == kMostNamed) {
      names << tr("%1 more").arg(static_cast<int>(column.knockedOut().size()) - kMostNamed);
      break;
    }
    names << labelText(n, 40);
  }
  const QString without = (session().comparing() ? labelText(session().model(column.slot())->facts().name, 40) + QLatin1Char(' ') : QString()) +
                          tr("without %1: ").arg(names.join(QStringLiteral(", ")));
  const app::CircuitMeasure* with = asked.answer({column.choice(), {}});
  const app::CircuitMeasure* m = asked.answer({column.choice(), {column.knockedOut().begin(), column.knockedOut().end()}});
  if (!m || !with) return without + (asked.problem().isEmpty() ? tr("measuring…") : tr("not measured"));
  return without + tr("%1 %2 instead of %3, faithfulness %4 instead of %5")
                       .arg(nameText(asked.metric().toStdString()), numberText(m->metric, 3), numberText(with->metric, 3), share(m->faithfulness),
                            share(with->faithfulness));
}

void CircuitPanel::showNumbers() {
  const CircuitColumn* lead = leading();
  bool anyKnocked = false;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    const CircuitColumn& c = *columns_[slot];
    const bool shown = used(slot) && c.hasCircuit();
    measure_[slot]->setVisible(shown);
    measure_[slot]->setText(shown ? measureText(c) : QString());
    const QString without = shown ? knockText(c) : QString();
    knocked_[slot]->setText(without);
    knocked_[slot]->setVisible(!without.isEmpty());
    anyKnocked = anyKnocked || (shown && !c.knockedOut().empty());
  }
  const QString text = selectedText();
  selected_->setText(text);
  bool can = false, out = true;
  for (const CircuitColumn* c : columns_)
    if (c->nodeNamed(node_) >= 0 && placeOfNode(node_).kind != NodePlaceName::Kind::kOther) {
      can = true;
      out = out && c->knockedOut().count(node_) > 0;
    }
  knock_->setEnabled(can);
  knock_->setText(can && out ? tr("Put back") : tr("Knock out"));
  restore_->setEnabled(anyKnocked);
  if (lead) showCurve();
  else curve_->clear();
  fitWords();
}

// Sentences take the height they need and scroll where there is less: they never make the window taller.
void CircuitPanel::fitWords() {
  QLayout* inside = words_->widget()->layout();
  inside->invalidate();
  // Of the whole width: a scroll bar that is not needed must not ask for itself.
  words_->setMaximumHeight(std::max(2 * kGrid, inside->heightForWidth(words_->width()) + kGrid / 2));
}

void CircuitPanel::resizeEvent(QResizeEvent* event) {
  Panel::resizeEvent(event);
  fitWords();
}

void CircuitPanel::showCurve() {
  const CircuitColumn* lead = leading();
  ChartData data;
  data.xLabel = tr("edges");
  data.yLabel = tr("faithfulness");
  data.logX = true;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    const CircuitColumn& c = *columns_[slot];
    if (!used(slot) || !c.hasCircuit()) continue;
    std::map<int64_t, double> points = storedCurve(c.run()->result, c.order()->total());
    const bool stored = points.size() >= 2;
    if (!stored) points = c.questions()->curve();
    ChartLine line;
    line.name = labelText(session().model(slot)->facts().name, 40);
    line.help = stored ? tr("As the run measured it") : tr("Measured here, on the prompts of the window");
    line.colour = slot == 0 ? 0 : 2;
    for (const auto& [n, f] : points) {
      line.x.push_back(std::log10(static_cast<double>(n)));
      line.y.push_back(f);
    }
    data.lines.push_back(std::move(line));
  }
  const bool any = std::any_of(data.lines.begin(), data.lines.end(), [](const ChartLine& l) { return !l.x.empty(); });
  if (any) curve_->setData(data);
  else curve_->clear(lead->questions()->problem().isEmpty() ? tr("Faithfulness against edges: filled as it is measured.") : tr("Faithfulness is not measured."));
  curve_->setTitle(tr("Faithfulness against edges"));
  curve_->setCommand(lead->graph()->command());
  curve_->setSource(lead->shownRun(), QString::fromStdString(lead->order()->circuit().name));
  const int64_t edges = lead->order()->edges(lead->choice());
  setting_ = true;
  curve_->setCursor(any && edges > 0 ? std::log10(static_cast<double>(edges)) : std::numeric_limits<double>::quiet_NaN());
  setting_ = false;
}

void CircuitPanel::showComparison() {
  comparison_->setVisible(pair_ != nullptr && session().comparing());
  if (!pair_ || !session().comparing()) {
    for (CircuitColumn* c : columns_)
      if (c->hasCircuit()) c->setMarked(nullptr);
    return;
  }
  overlap_ = pair_->overlap(columns_[0]->choice(), columns_[1]->choice());
  for (CircuitColumn* c : columns_) c->setMarked(&overlap_);
  comparison_->setText(tr("In both circuits: %1 of %2 heads (Jaccard %3), %4 of %5 edges (%6). Ringed nodes are in both; edges of one alone are pale.")
                           .arg(count(overlap_.sharedHeads), count(overlap_.unionHeads), share(overlap_.headJaccard()), count(overlap_.sharedEdges),
                                count(overlap_.unionEdges), share(overlap_.edgeJaccard())));
  comparison_->setToolTip(tipText(tr("Jaccard: how many are in both circuits over how many are in either, nodes and edges compared by name. Source: 2310.08744")));
}

// ---- what is selected ----------------------------------------------------------------------------------------------

QString CircuitPanel::selectedText() const {
  QStringList parts;
  for (const CircuitColumn* c : columns_) {
    if (!used(c->slot()) || !c->hasCircuit()) continue;
    const EdgeOrder& order = *c->order();
    QStringList facts;
    if (const int e = edge_.empty() ? -1 : c->edgeNamed(edge_); e >= 0) {
      const int64_t entry = order.entry()[static_cast<size_t>(e)];
      facts << tr("score %1").arg(numberText(order.circuit().edges[static_cast<size_t>(e)].score));
      facts << (entry == 0 ? tr("on no path from the input to the logits") : tr("kept from %1 on").arg(edgesText(entry)));
      if (!order.holds(static_cast<size_t>(e), c->choice())) facts << tr("left out now");
    } else if (const int n = node_.empty() || !edge_.empty() ? -1 : c->nodeNamed(node_); n >= 0) {
      int64_t in = 0, out = 0;
      double sum = 0;
      for (size_t e = 0; e < order.entry().size(); ++e) {
        if (!order.holds(e, c->choice())) continue;
        const bool from = order.nodeNames()[static_cast<size_t>(order.from(e))] == node_, to = order.nodeNames()[static_cast<size_t>(order.to(e))] == node_;
        in += to;
        out += from;
        if ((from || to) && std::isfinite(order.circuit().edges[e].score)) sum += std::abs(order.circuit().edges[e].score);
      }
      const GraphNode& node = c->graph()->graph().nodes[static_cast<size_t>(n)];
      if (node.score != 0) facts << tr("score %1").arg(numberText(node.score));
      facts << tr("%1 in, %2 out").arg(edgesText(in), edgesText(out)) << tr("Σ |score| of these %1").arg(numberText(sum));
      if (!node.group.isEmpty()) facts << tr("group %1").arg(labelText(node.group.toStdString(), 60));
      if (!node.note.isEmpty()) facts << tr("note: %1").arg(labelText(node.note.toStdString(), 200));
    }
    if (facts.isEmpty()) continue;
    parts << (session().comparing() ? labelText(session().model(c->slot())->facts().name, 40) + QStringLiteral(": ") : QString()) + facts.join(QStringLiteral(" · "));
  }
  const QString what = QString::fromStdString(edge_.empty() ? node_ : edge_).replace(QLatin1String("->"), QStringLiteral(" → "));
  if (parts.isEmpty()) return tr("Click a node or an edge; the arrow keys go from node to node, K knocks one out, P pins, N notes, G groups.");
  return labelText(what.toStdString(), 80) + QStringLiteral(" · ") + parts.join(QStringLiteral("; "));
}

void CircuitPanel::pickNode(int slot, const QString& name) {
  node_ = name.toStdString();
  edge_.clear();
  picking_ = true;
  Selection& s = session().selection();
  s.setModel(slot);
  const NodePlaceName place = placeOfNode(node_);
  if (place.kind != NodePlaceName::Kind::kOther) s.setHead(place.layer, place.head);
  s.setEdge({});
  s.setNode(name);
  picking_ = false;
  for (CircuitColumn* c : columns_) c->select(node_, {});
  showNumbers();
}

void CircuitPanel::pickEdge(int slot, const QString& name) {
  edge_ = name.toStdString();
  node_.clear();
  picking_ = true;
  Selection& s = session().selection();
  s.setModel(slot);
  // The head that reads it; an edge into the logits is about the one that writes.
  const qsizetype arrow = name.indexOf(QLatin1String("->"));
  const NodePlaceName to = placeOfNode(endOf(name.mid(arrow + 2).toStdString()).first), from = placeOfNode(endOf(name.left(arrow).toStdString()).first);
  const NodePlaceName& place = to.kind != NodePlaceName::Kind::kOther ? to : from;
  if (place.kind != NodePlaceName::Kind::kOther) s.setHead(place.layer, place.head);
  s.setNode({});
  s.setEdge(name);
  picking_ = false;
  for (CircuitColumn* c : columns_) c->select({}, edge_);
  showNumbers();
}

void CircuitPanel::clearPick() {
  node_.clear();
  edge_.clear();
  picking_ = true;
  session().selection().setNode({});
  session().selection().setEdge({});
  picking_ = false;
  for (CircuitColumn* c : columns_) c->select({}, {});
  showNumbers();
}

void CircuitPanel::followSelection() {
  if (picking_ || !leading()) return;
  const Selection& s = session().selection();
  if (s.layer() < 0) return;
  const std::string name = s.head() >= 0 ? "a" + std::to_string(s.layer()) + ".h" + std::to_string(s.head()) : "m" + std::to_string(s.layer());
  if (columns_[0]->nodeNamed(name) < 0 && columns_[1]->nodeNamed(name) < 0) return;
  node_ = name;
  edge_.clear();
  for (CircuitColumn* c : columns_) c->select(node_, {});
  showNumbers();
}

void CircuitPanel::toggleKnockOut() {
  if (placeOfNode(node_).kind == NodePlaceName::Kind::kOther) return;
  bool out = true, any = false;
  for (const CircuitColumn* c : columns_)
    if (c->nodeNamed(node_) >= 0) any = true, out = out && c->knockedOut().count(node_) > 0;
  if (!any) return;
  for (CircuitColumn* c : columns_) {
    if (!c->hasCircuit()) continue;
    std::set<std::string> now = c->knockedOut();
    if (out) now.erase(node_);
    else now.insert(node_);
    c->setKnockedOut(now);
  }
  askNow(false);
}

void CircuitPanel::restoreAll() {
  for (CircuitColumn* c : columns_)
    if (c->hasCircuit()) c->setKnockedOut({});
  askNow(false);
}

void CircuitPanel::keyPressEvent(QKeyEvent* event) {
  if (event->key() != Qt::Key_K || (event->modifiers() & ~Qt::ShiftModifier)) return Panel::keyPressEvent(event);
  if (event->modifiers() & Qt::ShiftModifier) restoreAll();
  else toggleKnockOut();
  event->accept();
}

}  // namespace microtome::desktop
