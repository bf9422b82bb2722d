#include "app/desktop/views/feature_view.h"

#include <QGridLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QPainter>
#include <QScrollArea>
#include <QScrollBar>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/feature_search.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/map_text.h"
#include "app/desktop/views/token_strip.h"

namespace microtome::desktop {
namespace {

constexpr size_t kMostLinks = 12;

QLabel* words(QWidget* parent, const char* name, const char* role) {
  auto* label = new QLabel(parent);
  label->setObjectName(QString::fromLatin1(name));
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  if (*role) label->setProperty("role", QString::fromLatin1(role));
  QSizePolicy policy(QSizePolicy::Ignored, QSizePolicy::Minimum);
  policy.setHeightForWidth(true);
  label->setSizePolicy(policy);
  return label;
}

// Counts of equal bins as a staircase.
ChartData staircase(const FeatureSet::Feature& f) {
  ChartData out;
  out.xLabel = FeatureView::tr("activation");
  out.yLabel = FeatureView::tr("tokens");
  if (f.histogram.empty() || !(f.max > 0)) return out;
  ChartLine line;
  line.name = FeatureView::tr("tokens");
  const double width = f.max / static_cast<double>(f.histogram.size());
  for (size_t b = 0; b < f.histogram.size(); ++b) {
    const double count = static_cast<double>(f.histogram[b]);
    line.x.insert(line.x.end(), {width * static_cast<double>(b), width * static_cast<double>(b + 1)});
    line.y.insert(line.y.end(), {count, count});
  }
  out.lines.push_back(std::move(line));
  return out;
}

QString bandText(const std::string& band) {
  return band == "top" ? FeatureView::tr("strongest") : FeatureView::tr("quantiles %1").arg(labelText(band, 40));
}

}  // namespace

FeatureView::FeatureView(QWidget* parent) : View(parent) {
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  outer->setSpacing(0);
  empty_ = words(this, "feature_empty", "muted");
  empty_->setAlignment(Qt::AlignCenter);
  empty_->setMargin(2 * kGrid);
  outer->addWidget(empty_, 1);
  scroll_ = new QScrollArea(this);
  scroll_->setWidgetResizable(true);
  scroll_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  scroll_->setFrameShape(QFrame::NoFrame);
  outer->addWidget(scroll_, 1);
  content_ = new QWidget(scroll_);
  column_ = new QVBoxLayout(content_);
  column_->setContentsMargins(kGrid, kGrid, 2 * kGrid, kGrid);
  column_->setSpacing(kGrid);

  auto* head = new QHBoxLayout;
  head->setSpacing(kGrid * 3 / 2);
  title_ = new QLabel(content_);
  title_->setObjectName(QStringLiteral("feature_title"));
  title_->setProperty("role", QStringLiteral("headline"));
  title_->setTextFormat(Qt::PlainText);
  label_ = new QLineEdit(content_);
  label_->setObjectName(QStringLiteral("feature_label"));
  label_->setPlaceholderText(tr("Label: what is it about?"));
  label_->setAccessibleName(tr("Label of the feature"));
  label_->setToolTip(tr("Your words for this feature; kept in the project with Enter, taken back with Ctrl+Z"));
  label_->setMaxLength(500);
  head->addWidget(title_);
  head->addWidget(label_, 1);
  column_->addLayout(head);
  numbers_ = words(content_, "feature_numbers", "");
  numbers_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  numbers_->setToolTip(tipText(tr("Density: share of the corpus's tokens with an activation above zero. Max and mean: of the activations above zero.")));
  column_->addWidget(numbers_);

  auto* middle = new QHBoxLayout;
  middle->setSpacing(2 * kGrid);
  histogram_ = new ChartView(content_);
  histogram_->setObjectName(QStringLiteral("feature_histogram"));
  histogram_->setMinimumSize(24 * kGrid, 21 * kGrid);
  histogram_->setMaximumHeight(25 * kGrid);
  histogram_->setToolTip(tr("How many tokens of the corpus have which activation, zeros left out"));
  auto* bins = new QVBoxLayout;        // at the top beside tall strips of tokens
  bins->addWidget(histogram_);
  bins->addStretch(1);
  middle->addLayout(bins, 2);
  auto* logits = new QVBoxLayout;
  logits->setSpacing(kGrid);
  const auto strip = [&](const char* name, const QString& caption, const QString& tip) {
    auto* s = new TokenStrip(content_);
    s->setObjectName(QString::fromLatin1(name));
    s->setCaption(caption);
    s->setAccessibleName(caption);
    s->setAccessibleDescription(tip);
    logits->addWidget(s);
    connect(s, &View::hoverText, this, &View::hoverText);
    connect(s, &View::message, this, &View::message);
    return s;
  };
  raises_ = strip("feature_raises", tr("raises"), tr("Tokens whose logits the feature raises most: decoder direction times unembedding, per unit of activation"));
  lowers_ = strip("feature_lowers", tr("lowers"), tr("Tokens whose logits the feature lowers most: decoder direction times unembedding, per unit of activation"));
  logits->addStretch(1);
  middle->addLayout(logits, 3);
  column_->addLayout(middle);

  const auto links = [&](const char* name) {
    QLabel* l = words(content_, name, "");
    l->setTextFormat(Qt::RichText);
    l->setTextInteractionFlags(Qt::TextBrowserInteraction);
    l->setOpenExternalLinks(false);
    connect(l, &QLabel::linkActivated, this, [this](const QString& link) { Q_EMIT featureWanted(link.toLongLong()); });
    column_->addWidget(l);
    return l;
  };
  near_ = links("feature_near");
  coactive_ = links("feature_coactive");
  examplesTitle_ = words(content_, "feature_examples", "section");
  column_->addWidget(examplesTitle_);
  column_->addStretch(1);
  scroll_->setWidget(content_);
  connect(label_, &QLineEdit::editingFinished, this, [this] {
    if (const FeatureSet::Feature* f = shown(); f && label_->isModified()) {
      label_->setModified(false);
      Q_EMIT labelEdited(f->index, label_->text().trimmed());
    }
  });
  connect(histogram_, &View::hoverText, this, &View::hoverText);
  setFeature(nullptr, -1, {});
}

const FeatureSet::Feature* FeatureView::shown() const {
  return set_ && row_ >= 0 && row_ < static_cast<int>(set_->features.size()) ? &set_->features[static_cast<size_t>(row_)] : nullptr;
}

qint64 FeatureView::feature() const {
  const FeatureSet::Feature* f = shown();
  return f ? f->index : -1;
}

void FeatureView::setLabelEditable(bool on) {
  label_->setReadOnly(!on);
  label_->setVisible(on || !label_->text().isEmpty());
}

void FeatureView::setLabel(const QString& label) {
  if (label_->text() == label) return;
  label_->setText(label);
  label_->setModified(false);
  label_->setCursorPosition(0);
}

void FeatureView::setFeature(std::shared_ptr<const FeatureSet> set, int row, const QString& label, const QString& emptyText) {
  const bool same = set == set_ && row == row_;
  set_ = std::move(set);
  row_ = row;
  const FeatureSet::Feature* f = shown();
  empty_->setText(emptyText.isEmpty() ? tr("Choose a feature in the list.") : emptyText);
  empty_->setVisible(!f);
  scroll_->setVisible(f != nullptr);
  setLabel(label);
  if (!f || same) return;
  title_->setText(tr("Feature %1").arg(f->index));
  fillNumbers();
  const ChartData bins = staircase(*f);
  if (bins.lines.empty()) histogram_->clear(tr("It never fires in this corpus."));
  else histogram_->setData(bins);
  histogram_->setTitle(tr("Activations of feature %1").arg(f->index));
  histogram_->setCommand(command());
  fillLogits(raises_, f->top_logits);
  fillLogits(lowers_, f->bottom_logits);
  fillLinks(near_, f->neighbours, tr("Near it"), tr("Features by the cosine of their decoder directions"));
  fillLinks(coactive_, f->coactive, tr("Fires with"), tr("Features by the correlation of their activity over tokens (phi)"));
  fillExamples();
  scroll_->verticalScrollBar()->setValue(0);
}

void FeatureView::fillNumbers() {
  const FeatureSet::Feature* f = shown();
  if (!(f->density > 0)) {
    numbers_->setText(tr("Does not fire on any of %1 tokens").arg(set_->tokens_seen));
    return;
  }
  QStringList parts = {tr("fires on %1 % of the tokens").arg(numberText(f->density * 100, 3)), tr("max %1").arg(numberText(f->max, 3)),
                       tr("mean %1").arg(numberText(f->mean, 3))};
  if (set_->tokens_seen > 0) parts << tr("in %1 tokens").arg(set_->tokens_seen);
  numbers_->setText(parts.join(QStringLiteral(" · ")));
}

void FeatureView::fillLogits(TokenStrip* strip, const std::vector<FeatureSet::TokenScore>& tokens) {
  std::vector<TokenChip> chips;
  std::vector<double> values;
  double most = 0;
  for (const FeatureSet::TokenScore& t : tokens) {
    if (chips.size() >= 15) break;
    chips.push_back({tokenTextOf(*set_, t.id), t.id, numberText(t.value, 2), false, false});
    values.push_back(t.value);
    most = std::max(most, std::abs(t.value));
  }
  strip->setTokens(std::move(chips));
  strip->setValues(std::move(values), Look::kDiverging, -most, most, tr("logits per unit of activation"));
  strip->setTitle(tr("Logits of feature %1").arg(shown()->index));
  strip->setVisible(!tokens.empty());
}

void FeatureView::fillLinks(QLabel* label, const std::vector<FeatureSet::Neighbour>& near, const QString& what, const QString& tip) {
  QStringList parts;
  for (const FeatureSet::Neighbour& n : near) {
    if (static_cast<size_t>(parts.size()) >= kMostLinks) break;
    const bool known = othersRead_ || std::any_of(set_->features.begin(), set_->features.end(), [&](const FeatureSet::Feature& f) { return f.index == n.feature; });
    const QString name = names_ ? names_(n.feature) : QString();
    QString text = QString::number(n.feature);
    if (!name.isEmpty()) text += QStringLiteral(" “") + name.left(40).toHtmlEscaped() + QStringLiteral("”");
    parts << (known ? QStringLiteral("<a href=\"%1\">%2</a>").arg(n.feature).arg(text) : text) + QStringLiteral("&nbsp;") + numberText(n.value, 2);
  }
  label->setText(QStringLiteral("<b>%1</b> &nbsp; ").arg(what) + parts.join(QStringLiteral(" &nbsp;·&nbsp; ")));
  label->setToolTip(tip);
  label->setVisible(!parts.isEmpty());
}

void FeatureView::fillExamples() {
  const FeatureSet::Feature* f = shown();
  const size_t count = std::min<size_t>(f->examples.size(), kMostExamples);
  examplesTitle_->setText(count == 0 ? tr("No examples")
                          : count < f->examples.size() ? tr("Examples, %1 of %2").arg(count).arg(f->examples.size())
                                                       : tr("Examples"));
  while (rows_.size() < count) {
    Row row{words(content_, "example_caption", "muted"), new TokenStrip(content_)};
    row.strip->setObjectName(QStringLiteral("example"));
    const int at = column_->count() - 1;               // before the stretch
    column_->insertWidget(at, row.caption);
    column_->insertWidget(at + 1, row.strip);
    connect(row.strip, &View::hoverText, this, &View::hoverText);
    connect(row.strip, &View::message, this, &View::message);
    rows_.push_back(row);
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    Row& row = rows_[i];
    row.caption->setVisible(i < count);
    row.strip->setVisible(i < count);
    if (i >= count) continue;
    const FeatureSet::Example& e = f->examples[i];
    const double peak = e.activations.empty() ? 0 : static_cast<double>(*std::max_element(e.activations.begin(), e.activations.end()));
    row.caption->setText(tr("%1 · sequence %2, position %3 · %4").arg(bandText(e.band)).arg(e.sequence).arg(e.position).arg(numberText(peak, 3)));
    std::vector<TokenChip> chips;
    std::vector<double> values;
    for (size_t t = 0; t < e.ids.size(); ++t) {
      chips.push_back({tokenTextOf(*set_, e.ids[t]), e.ids[t], {}, false, false});
      values.push_back(t < e.activations.size() ? static_cast<double>(e.activations[t]) : std::nan(""));
    }
    row.strip->setTokens(std::move(chips));
    row.strip->setValues(std::move(values), Look::kPattern, 0, f->max > 0 ? f->max : 1, tr("activation"));
    row.strip->setCursor(e.strongest);
    row.strip->setTitle(tr("Feature %1, sequence %2").arg(f->index).arg(e.sequence));
  }
  content_->updateGeometry();
}

void FeatureView::drawPicture(QPainter& painter, const QSizeF& size) const {
  // The whole dashboard, not only what is scrolled to.
  QWidget* page = shown() ? content_ : const_cast<FeatureView*>(this)->empty_;
  if (page->width() <= 0 || page->height() <= 0) return;
  painter.save();
  painter.scale(size.width() / page->width(), size.height() / page->height());
  page->render(&painter, QPoint(), QRegion(), QWidget::DrawChildren);
  painter.restore();
}

QSizeF FeatureView::pictureSize() const { return shown() ? QSizeF(content_->size()).expandedTo(QSizeF(160, 120)) : View::pictureSize(); }

QString FeatureView::csv() const {
  const FeatureSet::Feature* f = shown();
  if (!f) return {};
  QString out = QStringLiteral("feature,band,sequence,position,id,token,activation\r\n");
  for (const FeatureSet::Example& e : f->examples)
    for (size_t t = 0; t < e.ids.size() && t < e.activations.size(); ++t)
      out += QStringLiteral("%1,%2,%3,%4,%5,%6,%7\r\n")
                 .arg(QString::number(f->index), csvField(QString::fromStdString(e.band)), QString::number(e.sequence),
                      QString::number(e.position - e.strongest + static_cast<qint64>(t)), QString::number(e.ids[t]),
                      csvField(tokenTextOf(*set_, e.ids[t])), QString::number(static_cast<double>(e.activations[t]), 'g', 9));
  return out;
}

}  // namespace microtome::desktop
