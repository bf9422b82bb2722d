#include "app/desktop/panels/attention/head_line.h"

#include <QCoreApplication>
#include <QPainter>
#include <QVBoxLayout>
#include <cmath>
#include <optional>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("HeadLine", text); }

std::optional<double> number(const Cell& cell) {
  if (const auto* i = std::get_if<int64_t>(&cell)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&cell); d && !std::isnan(*d)) return *d;
  return std::nullopt;
}

// Name left, muted; value after it, or at the right edge of a column.
class Item : public QWidget {
 public:
  Item(HeadNumberText text, bool upright, QWidget* parent)
      : QWidget(parent), text_(std::move(text)), upright_(upright) {
    setToolTip(tipText(text_.tip));
    setAccessibleName(text_.name + QLatin1Char(' ') + text_.value);
    setSizePolicy(upright ? QSizePolicy::Expanding : QSizePolicy::Fixed, QSizePolicy::Fixed);
  }
  QSize sizeHint() const override {
    const QFontMetrics m(font());
    return {m.horizontalAdvance(text_.name) + kGrid * 3 / 4 + m.horizontalAdvance(text_.value) + 1, m.height() + 1};
  }
  QSize minimumSizeHint() const override { return {4 * kGrid, QFontMetrics(font()).height() + 1}; }

 protected:
  void paintEvent(QPaintEvent*) override {
    const Theme& t = Theme::of(this);
    QPainter p(this);
    const QFontMetrics m(font());
    const int value = m.horizontalAdvance(text_.value), room = std::max(0, width() - value - kGrid / 2);
    p.setPen(t.muted);
    const QString name = m.elidedText(text_.name, Qt::ElideRight, room);
    p.drawText(QRect(0, 0, room, height()), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, name);
    p.setPen(t.text);
    const int at = upright_ ? width() - value : m.horizontalAdvance(name) + (name.isEmpty() ? 0 : kGrid * 3 / 4);
    p.drawText(QRect(at, 0, value + 1, height()), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine, text_.value);
  }

 private:
  HeadNumberText text_;
  bool upright_;
};

class Title : public QWidget {
 public:
  Title(QString text, bool recurrent, QWidget* parent)
      : QWidget(parent), text_(std::move(text)), recurrent_(recurrent) {
    setAccessibleName(text_);
    setToolTip(recurrent ? tr("A recurrent layer: A is the exact matrix its recurrence amounts to, z = A v")
                         : tr("A softmax layer: the weights are probabilities"));
  }
  QSize sizeHint() const override {
    const QFontMetrics m(bold());
    return {2 * kGrid + m.horizontalAdvance(text_) + 1, m.height() + 1};
  }

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter p(this);
    p.setRenderHint(QPainter::Antialiasing);
    drawRowMark(p, QRectF(0, 0, kGrid * 3 / 2, height()), recurrent_ ? RowMark::kRecurrent : RowMark::kSoftmax,
                palette());
    p.setFont(bold());
    p.setPen(Theme::of(this).text);
    p.drawText(rect().adjusted(2 * kGrid, 0, 0, 0), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
               QFontMetrics(bold()).elidedText(text_, Qt::ElideRight, width() - 2 * kGrid));
  }

 private:
  QFont bold() const {
    QFont f = font();
    f.setBold(true);
    return f;
  }
  QString text_;
  bool recurrent_;
};

}  // namespace

std::vector<HeadNumberText> headNumberTexts(const AnalysisResult& result, int64_t layer, int64_t head,
                                            const QString& source) {
  const Table* table = nullptr;
  for (const Artifact& artifact : result.artifacts)
    if (const auto* t = std::get_if<Table>(&artifact); t && t->name == "heads") table = t;
  if (!table) return {};
  const auto column = [&](const char* name) {
    size_t c = 0;
    while (c < table->columns.size() && table->columns[c].name != name) ++c;
    return c;
  };
  const size_t layers = column("layer"), heads = column("head");
  const std::vector<Cell>* row = nullptr;
  for (const std::vector<Cell>& r : table->rows) {
    if (r.size() <= std::max(layers, heads)) continue;
    if (number(r[layers]) == static_cast<double>(layer) && number(r[heads]) == static_cast<double>(head)) row = &r;
  }
  if (!row) return {};
  std::vector<HeadNumberText> out;
  enum class How { kNumber, kPercent, kYesNo, kResidual };
  const auto add = [&](const char* name, const QString& shown, How how) {
    const size_t c = column(name);
    const auto v = c < row->size() ? number((*row)[c]) : std::nullopt;
    if (!v) return;
    const QString unit = labelText(table->columns[c].unit, 40);
    QString value = numberText(*v, 3);
    if (how == How::kNumber && !unit.isEmpty()) value += QLatin1Char(' ') + unit;
    if (how == How::kPercent) value = numberText(*v * 100, std::abs(*v) < 0.0995 ? 2 : 3) + tr(" %");
    if (how == How::kYesNo) value = *v > 0.5 ? tr("yes") : tr("no");
    if (how == How::kResidual) value = numberText(*v, 1);
    QString tip = nameText(name) + QLatin1Char(' ') + numberText(*v, 6) +
                  (unit.isEmpty() ? QString() : QLatin1Char(' ') + unit) + QStringLiteral(": ") +
                  labelText(table->columns[c].help, 400);
    if (how == How::kYesNo) tip += tr(" On one prompt it is 1 (yes) or 0 (no).");
    if (!source.isEmpty()) tip += tr(". Source: %1").arg(source);
    out.push_back({shown, value, tip});
  };
  const size_t kind = column("kind");
  const auto* word = kind < row->size() ? std::get_if<std::string>(&(*row)[kind]) : nullptr;
  const bool recurrent = word && *word == "recurrent";
  add("entropy", tr("entropy"), How::kNumber);
  add("distance", tr("distance"), How::kNumber);
  add("prev_token", tr("previous token"), How::kPercent);
  add("self", tr("own token"), How::kPercent);
  add("first_token", tr("first token"), How::kPercent);
  add("sink_rate", tr("sink"), How::kYesNo);
  // A softmax head has neither.
  if (recurrent) {
    add("negative_share", tr("negative"), How::kPercent);
    add("pattern_residual", tr("A v repeats z to"), How::kResidual);
  }
  return out;
}

HeadLine::HeadLine(QWidget* parent) : QWidget(parent) {
  auto* box = new QVBoxLayout(this);
  box->setContentsMargins(0, 0, 0, 0);
  rebuild();
}

void HeadLine::setHead(const QString& title, bool recurrent, std::vector<HeadNumberText> numbers) {
  title_ = title;
  recurrent_ = recurrent;
  numbers_ = std::move(numbers);
  rebuild();
}

QSize HeadLine::minimumSizeHint() const { return {4 * kGrid, 2 * kGrid}; }

void HeadLine::setUpright(bool on) {
  if (on == upright_) return;
  upright_ = on;
  rebuild();
}

void HeadLine::rebuild() {
  delete content_;
  content_ = new QWidget(this);
  QLayout* box = nullptr;
  if (upright_) {
    auto* column = new QVBoxLayout(content_);
    column->setSpacing(1);
    column->setAlignment(Qt::AlignTop);
    box = column;
  } else {
    box = new FlowLayout(content_, kGrid * 3 / 2, 1);
  }
  box->setContentsMargins(0, 0, 0, 0);
  if (!title_.isEmpty()) box->addWidget(new Title(title_, recurrent_, content_));
  for (const HeadNumberText& n : numbers_) box->addWidget(new Item(n, upright_, content_));
  layout()->addWidget(content_);
  content_->show();
  updateGeometry();
}

}  // namespace microtome::desktop
