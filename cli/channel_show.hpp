// A channel as a person reads it: its figures, and why nothing comes to those who receive from it.
#pragma once

#include <string>

#include "zsync/v1/channels.pb.h"

namespace zsync::cli {

// What kind of channel it is, in one word or two.
std::string kind_of(const v1::ChannelSpec& spec);

// "1024", or of a ring "4.0 MiB".
std::string capacity_words(const v1::ChannelSpec& spec);

std::string channel_details(const v1::Channel& channel, bool color);

}  // namespace zsync::cli
