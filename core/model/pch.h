// pch.h — what nearly every file that sees LibTorch includes; precompiled once for the core and the analyses.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>
