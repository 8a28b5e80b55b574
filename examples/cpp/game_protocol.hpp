// The packets of the game server example. Every packet has the standard header (16-bit size, 16-bit id); numbers are
// big-endian.
//
//   client to server                     server to client
//   kJoin  room u8, name                 kJoined  player u32
//   kMove  dx i16, dy i16                kWorld   tick u32, then for each player of the room: player u32, x i32, y i32
//   kChat  text                          kSaid    player u32, text
//                                        kLeft    player u32
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace game {

enum PacketId : uint16_t { kJoin = 1, kMove = 2, kChat = 3, kJoined = 101, kWorld = 102, kSaid = 103, kLeft = 104 };

// Puts a payload together.
class Writer {
public:
    template <class Integer, class = std::enable_if_t<std::is_integral_v<Integer>>>
    Writer& Put(Integer value) {
        for (size_t shift = sizeof(Integer) * 8; shift > 0; shift -= 8) {
            mBytes.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (shift - 8)));
        }
        return *this;
    }
    Writer& Put(std::string_view text) {
        mBytes.append(text);
        return *this;
    }
    const std::string& Bytes() const { return mBytes; }

private:
    std::string mBytes;
};

// Takes a payload apart. Reading beyond its end gives 0 and is remembered.
class Reader {
public:
    Reader(const void* payload, size_t bytes) : mRest(static_cast<const char*>(payload), bytes) {}

    template <class Integer>
    Integer Get() {
        if (mRest.size() < sizeof(Integer)) {
            mIsGood = false;
            return 0;
        }
        uint64_t value = 0;
        for (size_t position = 0; position < sizeof(Integer); ++position) {
            value = value << 8 | static_cast<unsigned char>(mRest[position]);
        }
        mRest.remove_prefix(sizeof(Integer));
        return static_cast<Integer>(value);
    }
    // Everything that is left.
    std::string_view Rest() const { return mRest; }
    bool IsGood() const { return mIsGood; }

private:
    std::string_view mRest;
    bool mIsGood = true;
};

}  // namespace game
