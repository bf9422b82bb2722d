#include "app/desktop/views/axis_control.h"

#include <QCheckBox>
#include <QEvent>
#include <QHBoxLayout>
#include <QLabel>
#include <QSignalBlocker>
#include <QSlider>
#include <QSpinBox>
#include <algorithm>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/tensor_slice.h"

namespace microtome::desktop {

AxisControl::AxisControl(const std::string& axis, int64_t size, std::shared_ptr<const TensorMap> owner,
                         const std::vector<std::string>* labels, bool tokens, bool canMean, QWidget* parent)
    : QWidget(parent), axis_(axis), size_(size), owner_(std::move(owner)), labels_(labels), tokens_(tokens) {
  setObjectName(QStringLiteral("axis_") + QString::fromStdString(axis));
  auto* row = new QHBoxLayout(this);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  const QString name = axisText(axis);
  auto* words = new QLabel(name, this);
  words->setTextFormat(Qt::PlainText);
  words->setProperty("role", QStringLiteral("muted"));
  slider_ = new QSlider(Qt::Horizontal, this);
  const int last = static_cast<int>(std::min<int64_t>(size - 1, std::numeric_limits<int>::max()));
  slider_->setRange(0, last);
  slider_->setPageStep(std::max(1, last / 10));
  slider_->setFixedWidth(std::clamp(last * 10, 6 * kGrid, 16 * kGrid));
  slider_->setAccessibleName(name);
  slider_->setToolTip(tr("0 to %1; arrow keys move by one").arg(last));
  guardWheel(slider_);
  words->setBuddy(slider_);
  row->addWidget(words);
  row->addWidget(slider_);
  if (labels_) {
    value_ = new QLabel(this);
    value_->setTextFormat(Qt::PlainText);
    if (tokens_) value_->setFont(monoFont());
    int widest = 0;                          // nothing moves while the slider does
    for (size_t i = 0; i < labels_->size() && i < 500; ++i)
      widest = std::max(widest, value_->fontMetrics().horizontalAdvance(labelAt(static_cast<int64_t>(i))));
    value_->setFixedWidth(std::clamp(widest + 4, 3 * kGrid, 14 * kGrid));
    row->addWidget(value_);
  } else {
    number_ = new QSpinBox(this);
    number_->setLocale(QLocale::c());
    number_->setRange(0, last);
    number_->setAccessibleName(name);
    guardWheel(number_);
    row->addWidget(number_);
    connect(number_, &QSpinBox::valueChanged, slider_, &QSlider::setValue);
  }
  if (canMean) {
    mean_ = new QCheckBox(tr("mean"), this);
    mean_->setObjectName(QStringLiteral("mean"));
    mean_->setToolTip(tr("The mean over all %1 of axis “%2”, cells without a value left out").arg(size).arg(name));
    row->addWidget(mean_);
    connect(mean_, &QCheckBox::toggled, this, [this] {
      showValue();
      Q_EMIT changed();
    });
  }
  connect(slider_, &QSlider::valueChanged, this, [this] {
    if (mean_) {
      // Who moves the slider wants a place, not the mean.
      const QSignalBlocker quiet(mean_);
      mean_->setChecked(false);
    }
    showValue();
    Q_EMIT changed();
  });
  showValue();
}

int64_t AxisControl::index() const { return mean_ && mean_->isChecked() ? kMean : slider_->value(); }

void AxisControl::setIndex(int64_t index) {
  const QSignalBlocker a(slider_);
  if (mean_) {
    const QSignalBlocker b(mean_);
    mean_->setChecked(index == kMean);
  }
  if (index != kMean) slider_->setValue(static_cast<int>(std::clamp<int64_t>(index, 0, slider_->maximum())));
  showValue();
}

void AxisControl::setKinds(std::vector<LayerKind> kinds) {
  kinds_ = std::move(kinds);
  showValue();
}

void AxisControl::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange) showValue();
}

QString AxisControl::labelAt(int64_t index) const {
  if (!labels_) return QString::number(index);
  const std::string& label = (*labels_)[static_cast<size_t>(index)];
  return tokens_ ? visibleToken(QString::fromStdString(label.substr(0, 256))).left(64) : labelText(label, 64);
}

QString AxisControl::valueText() const { return index() == kMean ? tr("mean") : labelAt(index()); }

void AxisControl::showValue() {
  const bool mean = index() == kMean;
  if (number_) {
    const QSignalBlocker quiet(number_);
    number_->setValue(slider_->value());
    number_->setEnabled(!mean);
  } else {
    const QString text = labelAt(slider_->value());
    value_->setText(value_->fontMetrics().elidedText(text, Qt::ElideRight, value_->width()));
    value_->setToolTip(tipText(tr("%1: index %2 of %3").arg(text).arg(slider_->value()).arg(size_)));
    value_->setEnabled(!mean);
    const size_t at = static_cast<size_t>(slider_->value());
    const LayerKind kind = at < kinds_.size() ? kinds_[at] : LayerKind::kNone;
    const Theme& theme = Theme::of(this);
    const QColor colour = kind == LayerKind::kNone ? theme.text : theme.layerColour(kind == LayerKind::kRecurrent);
    if (QPalette palette = value_->palette(); palette.color(QPalette::Active, QPalette::WindowText) != colour) {
      palette.setColor(QPalette::Active, QPalette::WindowText, colour);
      palette.setColor(QPalette::Inactive, QPalette::WindowText, colour);
      value_->setPalette(palette);
    }
  }
}

}  // namespace microtome::desktop
